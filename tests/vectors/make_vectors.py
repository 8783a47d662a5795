"""Makes the JSON test vectors in this folder with PyTorch in float64.

    pip install torch
    python3 tests/vectors/make_vectors.py            # writes the files
    python3 tests/vectors/make_vectors.py --check    # compares with the committed files; exits 1 on drift

Inputs come from Python's seeded generator, rounded to float32; the expectation is float64 on those numbers
(`objectives.py`). Every case is asserted to agree with the same composition over torch's `log_softmax`, within what
that loses where p is nearly 1. Where a framework or a paper writes the same loss in its own way (`frameworks.py`),
value and gradient are asserted to agree as well. The format is in README.md.
"""

import argparse
import json
import math
import pathlib
import random
import struct
import sys

import torch

import frameworks
from objectives import evaluate

FOLDER = pathlib.Path(__file__).resolve().parent
IGNORED = -100


def f32(x):
    """Rounds to float32."""
    return struct.unpack("f", struct.pack("f", x))[0]


def batch(seed, rows, vocab, ignored=(1,), spread=1.5, cu_seqlens=None, sides=()):
    """Logits, targets and the side inputs named in `sides`; those of ignored rows are numbers that must not matter."""
    rng = random.Random(seed)

    def gauss(count, scale):
        return [f32(rng.gauss(0, scale)) for _ in range(count)]

    logits = gauss(rows * vocab, spread)
    targets = [rng.randrange(vocab) for _ in range(rows)]
    for row in range(0, rows, 2):  # every other row favours its target, so that both low and high p occur
        logits[row * vocab + targets[row]] = f32(logits[row * vocab + targets[row]] + 2.5)
    made = {"rows": rows, "vocab": vocab, "logits": logits, "targets": targets}
    z = torch.tensor(logits).reshape(rows, vocab)

    def log_probs(noise):
        noisy = torch.log_softmax(z + torch.tensor(gauss(rows * vocab, noise)).reshape(rows, vocab), -1)
        return [f32(noisy[row, target].item()) for row, target in enumerate(targets)]

    if ignored:
        made["ignore_index"] = IGNORED
    if cu_seqlens:
        made["cu_seqlens"] = cu_seqlens
    make_side = {
        "token_weights": lambda: [f32(rng.uniform(0.25, 2)) for _ in range(rows)],
        "ref_log_probs": lambda: log_probs(0.8),
        "old_log_probs": lambda: log_probs(0.35),
        "advantages": lambda: gauss(rows, 1.5),
        "class_weights": lambda: [f32(rng.uniform(0.25, 2)) for _ in range(vocab)],
        "groups": lambda: [row % 3 for row in range(rows)],
    }
    garbage = {"token_weights": 5.0, "ref_log_probs": -7.5, "old_log_probs": -0.125, "advantages": 9.0, "groups": 7}
    for side in sides:
        made[side] = make_side[side]()
        for row in ignored if side in garbage else ():
            made[side][row] = garbage[side]
    for row in ignored:
        made["targets"][row] = IGNORED
    return made


def plain_log_prob(x, target):
    """ln p of each row's target as everybody computes it: right to about 1e-16 absolute."""
    return torch.log_softmax(x, -1).gather(1, target[:, None])[:, 0]


def case(
    name, inputs, objective, parameters=None, reduction="mean-tokens", check=None, value=True, source="", **options
):
    """One case; `check` is a function of `frameworks` that must give the same loss (if `value`) and gradient."""
    parameters = {key: f32(x) if isinstance(x, float) else x for key, x in (parameters or {}).items()}
    made = {"name": name, **inputs, "objective": objective, "parameters": parameters, "reduction": reduction}
    made.update({key: x for key, x in options.items() if x is not None})
    made["source"] = source or (" ".join(check.__doc__.split()) if check else "definition")
    made["expected"] = evaluate(made)
    difference = drift(made["expected"], evaluate(made, plain_log_prob), name, absolute=1e-12)
    assert difference is None, difference
    if check:
        z = torch.tensor(made["logits"]).reshape(made["rows"], made["vocab"]).requires_grad_()
        loss = check(z, made)
        loss.backward()
        if value:
            assert math.isclose(loss.item(), made["expected"]["loss"], rel_tol=1e-12, abs_tol=1e-14), name
        dlogits = torch.tensor(made["expected"]["dlogits"]).reshape(z.shape)
        torch.testing.assert_close(z.grad, dlogits, rtol=1e-10, atol=1e-13, msg=name)
    return made


# ---- cross_entropy.json ----------------------------------------------------------------------------------------------


def cross_entropy_cases():
    torch_ce = frameworks.cross_entropy
    plain = batch("ce", 5, 7, ignored=(), sides=["class_weights"])
    for ignored in (False, True):
        for eps in (None, 0.125):
            for weighted in (False, True):
                for reduction in ("sum", "mean-tokens", "mean-weights"):
                    inputs = dict(plain)
                    if ignored:
                        inputs |= {
                            "ignore_index": IGNORED,
                            "targets": [*plain["targets"][:3], IGNORED, plain["targets"][4]],
                        }
                    if not weighted:
                        del inputs["class_weights"]
                    flags = [x for x, on in (("ignore", ignored), ("smooth", eps), ("class-weights", weighted)) if on]
                    name = "-".join(["ce", *(flags or ["plain"]), reduction])
                    yield case(name, inputs, "sft", {}, reduction, torch_ce, label_smoothing=eps)

    weighted = batch("ce-tokens", 6, 11, ignored=(0, 4), sides=["token_weights", "class_weights"])
    for reduction in ("sum", "mean-tokens", "mean-weights"):
        yield case(
            f"ce-token-and-class-weights-{reduction}", weighted, "sft", {}, reduction, torch_ce, label_smoothing=0.25
        )
    source = "transformers: sum over the micro-batch / num_items_in_batch of all micro-batches and ranks"
    yield case("ce-num-items-in-batch", batch("ce-by", 6, 11), "sft", {}, {"by": 37}, torch_ce, source=source)
    # Sequences of 3, 0, 2 (all ignored), 4 and 1 rows.
    ragged = batch("ce-ragged", 10, 5, ignored=(1, 3, 4, 8), cu_seqlens=[0, 3, 3, 5, 9, 10])
    yield case("ce-mean-sequences-with-empty-ones", ragged, "sft", {}, "mean-sequences", torch_ce)
    ragged = batch("ce-ragged-w", 10, 5, ignored=(9,), cu_seqlens=[0, 4, 6, 10], sides=["token_weights"])
    yield case("ce-mean-sequences-token-weights", ragged, "sft", {}, "mean-sequences", torch_ce)
    pad = batch("ce-pad", 6, 7, ignored=())
    pad |= {"targets": [2, 0, 5, 0, 0, 3], "ignore_index": 0}
    yield case("ce-ignore-index-inside-the-vocabulary", pad, "sft", {}, "mean-tokens", torch_ce)
    zero = batch("ce-zero", 5, 7, sides=["token_weights"])
    zero["token_weights"][0] = zero["token_weights"][2] = 0.0
    yield case("ce-zero-token-weights-still-count", zero, "sft", {}, "mean-tokens", torch_ce)
    yield case("ce-wide-logits", batch("ce-wide", 4, 33, spread=12.0), "sft", {}, "mean-tokens", torch_ce)
    yield case("ce-one-row", batch("ce-one", 1, 33, ignored=()), "sft", {}, "mean-tokens", torch_ce)
    yield case("ce-vocabulary-of-one", batch("ce-v1", 3, 1), "sft", {}, "mean-tokens", torch_ce)

    # A common offset changes nothing. Multiples of 1/64, so that every sum is exact in float32.
    base = batch("ce-offset", 5, 7)
    base["logits"] = [round(x * 64) / 64 for x in base["logits"]]
    offsets = [
        case(
            f"ce-offset{offset:+}",
            base | {"logits": [x + offset for x in base["logits"]]},
            "sft",
            {},
            "mean-tokens",
            torch_ce,
        )
        for offset in (0, 1000, -1000, 16384)
    ]
    assert all(math.isclose(x["expected"]["loss"], offsets[0]["expected"]["loss"], rel_tol=1e-12) for x in offsets)
    yield from offsets

    confident = batch("ce-confident", 5, 7)
    for row, gap in ((0, 12.0), (2, 25.0), (3, 80.0), (4, -60.0)):  # three right, one wrong
        confident["logits"][row * 7 + confident["targets"][row]] += gap
    confident["logits"] = [f32(x) for x in confident["logits"]]
    yield case("ce-confident-rows", confident, "sft", {}, "sum", torch_ce)
    yield case("dft-confident-rows", confident, "dft", {}, "sum", frameworks.liger_dft)
    for objective, parameters in (("sft", {}), ("dft", {}), ("talr", {"tau": 0.75, "floor": 0.015625})):
        uniform = batch("ce-uniform", 4, 33) | {"logits": [0.5] * (4 * 33)}
        yield case(f"{objective}-uniform-rows", uniform, objective, parameters)
        holes = batch("ce-holes", 5, 7)
        for row in range(5):
            for j in range(row + 1):  # one to five impossible tokens, never the target
                if j != holes["targets"][row]:
                    holes["logits"][row * 7 + j] = "-inf"
        yield case(f"{objective}-minus-infinity-off-target", holes, objective, parameters, "sum")
        nothing = batch("ce-none", 3, 7, ignored=(0, 1, 2))
        for reduction in ("sum", "mean-tokens", "mean-weights", "mean-sequences"):
            yield case(f"{objective}-all-ignored-{reduction}", nothing, objective, parameters, reduction)
        poisoned = batch("ce-poisoned", 5, 7, ignored=(1, 3))
        poisoned["logits"][7:14] = ["nan", "inf", "-inf", "nan", "nan", "inf", "-inf"]
        poisoned["logits"][21:28] = ["-inf"] * 7
        yield case(f"{objective}-ignored-rows-are-not-read", poisoned, objective, parameters)


# ---- confident.json --------------------------------------------------------------------------------------------------


def confident_rows(seed, vocab, rows, offset=0.0, scale=1.0, sides=()):
    """Rows with one class `gap` above the others, in multiples of 1/64, so that every sum is exact in float32.

    A row is (kind, gap): "flat" has the class at 0 and the others level, so that lse is nearly 0 as well; "random" has
    the others at random; "wrong" is random and has another class as its target.
    """
    rng = random.Random(seed)
    logits, targets = [], []
    for kind, gap in rows:
        gap = round(gap / scale * 64) / 64
        row = [-gap if kind == "flat" else round(rng.gauss(0, 1) * 64) / 64 for _ in range(vocab)]
        sure = rng.randrange(vocab)
        row[sure] = -math.inf
        row[sure] = max(row) + gap
        logits += [x + offset for x in row]
        targets.append((sure + rng.randrange(1, vocab)) % vocab if kind == "wrong" else sure)
    made = {"rows": len(rows), "vocab": vocab, "logits": logits, "targets": targets}
    if "old_log_probs" in sides:  # by ratios of at least 1, so that no old probability is above 1
        nll = evaluate(made | {"objective": "sft", "parameters": {}, "reduction": "sum"})["nll"]
        ratios, advantages = (1.0, 1.125, 1.0, 1.5, 1.125), (1.5, 0.75, -0.5, -1.25, 2.0, 1.0)
        made["old_log_probs"] = [f32(-x - math.log(ratios[row % 5])) for row, x in enumerate(nll)]
        made["advantages"] = [advantages[row % 6] for row in range(len(rows))]
    if "class_weights" in sides:
        made["class_weights"] = [round(rng.uniform(0.25, 2) * 64) / 64 for _ in range(vocab)]
    return made


def confident_cases():
    few = [("flat", 10), ("random", 12), ("flat", 15), ("random", 20), ("flat", 27), ("wrong", 20)]
    two = [("flat", 10), ("random", 12), ("flat", 15), ("flat", 20), ("random", 27), ("wrong", 12), ("wrong", 27)]
    z_loss = {"z_loss": 0.0078125}
    objectives = {
        "sft": {}, "dft": {}, "focal-0.5": {"gamma": 0.5}, "focal-2": {"gamma": 2.0},
        "talr": {"tau": 0.75, "floor": 0.015625}, "power": {"alpha": 0.5}, "ppo": {"clip_low": 0.25, "clip_high": 0.25},
    }  # fmt: skip

    def make(name, options_name, inputs, reduction, **options):
        if name != "ppo":
            inputs = {x: y for x, y in inputs.items() if x not in ("old_log_probs", "advantages")}
        return case(f"{name}-{options_name}", inputs, name.split("-")[0], objectives[name], reduction, **options)

    old, weights = ["old_log_probs"], ["class_weights"]
    for vocab, rows, reduction in ((37, few, "mean-tokens"), (2, two, "sum")):
        inputs = confident_rows(f"confident-{vocab}", vocab, rows, sides=old)
        for name in objectives:
            yield make(name, vocab, inputs, reduction)
            if vocab == 2 or name in ("sft", "dft", "focal-0.5"):
                yield make(name, f"{vocab}-z-loss", inputs, reduction, **z_loss)
    yield make("sft", 1000, confident_rows("confident-1000", 1000, [("flat", 10), ("random", 27)]), "sum")

    for name in objectives:
        inputs = confident_rows("confident-weights", 2, two, sides=old + weights)
        yield make(name, "2-class-weights-z-loss", inputs, "mean-weights", **z_loss)
    inputs = confident_rows("confident-weights", 37, few[1:5], sides=weights)
    yield make("focal-2", "37-class-weights", inputs, "mean-weights")
    for offset in (1000, -1000, 16384):
        inputs = confident_rows("confident-offset", 11, few, offset)
        yield make("sft", f"11-offset{offset:+}", inputs, "mean-tokens")
        yield make("power", f"2-offset{offset:+}", confident_rows("confident-offset", 2, two, offset), "sum")
    for name in ("sft", "focal-0.5"):
        for scale in (f32(0.7), 2.5):
            inputs = confident_rows("confident-scale", 11, few, scale=scale)
            yield make(name, f"11-logit-scale-{scale:g}", inputs, "mean-tokens", logit_scale=scale)
    for name in list(objectives)[:-1]:  # one row, so that `loss` is small too
        yield make(name, "2-one-row", confident_rows("confident-one", 2, [("flat", 27)]), "mean-tokens")


# ---- dft_frameworks.json ---------------------------------------------------------------------------------------------


def dft_cases():
    f = frameworks
    small, large = batch("dft", 5, 7), batch("dft-large", 6, 11, ignored=(0, 3))
    wide = batch("dft-wide", 4, 33, spread=5.0)
    weighted = batch("dft-scale", 6, 11, ignored=(2,), sides=["token_weights"])
    yield case("trl-local-count-4x33", wide, "dft", {}, "mean-tokens", f.trl_dft)
    for name, inputs in (("5x7", small), ("6x11", large)):
        yield case(f"trl-local-count-{name}", inputs, "dft", {}, "mean-tokens", f.trl_dft)
        yield case(f"trl-num-items-{name}", inputs, "dft", {}, {"by": 29}, f.trl_dft)
    yield case("swift-num-items", large, "dft", {}, {"by": 24}, f.swift_dft)
    yield case("swift-loss-scale", weighted, "dft", {}, "mean-tokens", f.swift_dft)
    yield case("swift-loss-scale-num-items", weighted, "dft", {}, {"by": 24}, f.swift_dft)
    yield case("llama-factory-mean", small, "dft", {}, "mean-tokens", f.llama_factory_dft)
    yield case("llama-factory-num-items", small, "dft", {}, {"by": 12}, f.llama_factory_dft)
    author = {"by": 2 * (4 + 1e-8)}
    yield case("author-repository-micro-batch", small, "dft", {}, author, f.author_dft)
    for reduction in ("mean-tokens", "sum"):
        for name, options in (
            ("plain", {}),
            ("smooth", {"label_smoothing": 0.125}),
            ("z-loss", {"z_loss": 0.0078125}),
            ("softcap", {"softcap": 5.0}),
            ("everything", {"label_smoothing": 0.125, "z_loss": 0.0078125, "softcap": 5.0}),
        ):
            yield case(f"liger-token-scaling-{name}-{reduction}", large, "dft", {}, reduction, f.liger_dft,
                       extras_scale="objective", **options)  # fmt: skip
    yield case("dft-gradient-is-that-of-minus-p", small, "dft", {}, "mean-tokens", f.dft_gradient, value=False)
    yield case("dft-divided-by-weights", weighted, "dft", {}, "mean-weights")
    sequences = batch("dft-seq", 9, 6, ignored=(0, 4, 5), cu_seqlens=[0, 4, 6, 9])
    yield case("dft-mean-sequences", sequences, "dft", {}, "mean-sequences")


# ---- token_objectives.json -------------------------------------------------------------------------------------------


def token_cases():
    sides = ["token_weights", "ref_log_probs", "old_log_probs", "advantages"]
    pool = batch("token", 10, 6, ignored=(1, 6), cu_seqlens=[0, 3, 6, 10], sides=sides)
    pool["logits"][4 * 6 + pool["targets"][4]] = 5.0  # surer than infosft's p_max
    # Every side of the clips: (row, ratio to the old policy, advantage).
    nll = evaluate(pool | {"objective": "sft", "parameters": {}, "reduction": "sum"})["nll"]
    for row, ratio, advantage in (
        (0, 1.5, 1.5), (2, 1.05, 2.0), (7, 0.5, 1.0),  # above, within, below
        (9, 4.5, -0.5), (8, 2.2, -1.5), (4, 0.9, -0.75), (3, 0.6, -1.25),  # far above, above, within, below
        (5, 1.1, 0.0),
    ):  # fmt: skip
        pool["old_log_probs"][row], pool["advantages"][row] = f32(-nll[row] - math.log(ratio)), advantage
    basic = {x: pool[x] for x in ("rows", "vocab", "logits", "targets", "ignore_index")}
    with_weights = basic | {"token_weights": pool["token_weights"]}
    with_sequences = basic | {"cu_seqlens": pool["cu_seqlens"]}
    with_ref, with_old = (
        basic | {"ref_log_probs": pool["ref_log_probs"]},
        basic | {"old_log_probs": pool["old_log_probs"]},
    )
    with_adv = with_old | {"advantages": pool["advantages"]}
    with_all = with_adv | with_ref

    plain = [("sft", {}), ("dft", {})]
    plain += [("talr", {"tau": tau, "floor": floor}) for tau, floor in ((1.0, 0.0), (0.5, 0.0625), (2.5, 0.25))]
    plain += [("talr", {"tau": 4.0, "floor": 0.0625, "p_min": 0.125})]
    plain += [(name, {"gamma": gamma}) for name in ("focal", "focal-detached") for gamma in (2.0, 0.5)]
    plain += [("power", {"alpha": alpha}) for alpha in (0.5, 1.0, 10.0)]
    plain += [("infosft", {"p_max": p_max}) for p_max in (0.9375, 0.75)]
    for objective, parameters in plain:
        name = "-".join([objective, *(f"{key}-{x:g}" for key, x in parameters.items())])
        yield case(f"{name}-mean-tokens", basic, objective, parameters)
        yield case(f"{name}-token-weights-mean-weights", with_weights, objective, parameters, "mean-weights")
    for objective, parameters in plain[:3]:
        yield case(f"{objective}-mean-sequences", with_sequences, objective, parameters, "mean-sequences")

    clip = {"clip_low": 0.25, "clip_high": 0.25}
    dapo = {"clip_low": 0.2, "clip_high": 0.28}
    ppo = frameworks.verl_ppo
    yield case("iw-token-sum", with_ref, "iw-token", {"temperature": 1.0, "low": 0.2, "high": 1.8}, "sum")
    yield case("iw-token-tempered", with_ref | with_weights, "iw-token", {"temperature": 2.0, "low": 0.5, "high": 1.5})
    yield case("psft-mean-tokens", with_old, "psft", {"clip_high": 0.28})
    yield case("psft-by", with_old | with_weights, "psft", {"clip_high": 0.125}, {"by": 20})
    yield case("ppo-mean-tokens", with_adv, "ppo", clip, "mean-tokens", ppo)
    yield case("ppo-mean-sequences", with_adv | with_sequences, "ppo", clip, "mean-sequences")
    yield case("ppo-token-weights", with_adv | with_weights, "ppo", clip, "mean-weights")
    yield case("ppo-dual-clip", with_adv, "ppo", clip | {"dual_clip": 1.25}, "mean-tokens", ppo)
    yield case("ppo-dual-clip-of-three", with_adv, "ppo", clip | {"dual_clip": 3.0}, "mean-tokens", ppo)
    for kl in ("k1", "k2", "k3"):
        yield case(f"grpo-{kl}-mean-tokens", with_all, "grpo", clip | {"beta": 0.0625, "kl": kl})
        yield case(
            f"grpo-{kl}-mean-sequences",
            with_all | with_sequences,
            "grpo",
            clip | {"beta": 0.5, "kl": kl},
            "mean-sequences",
        )
    yield case("grpo-without-kl", with_all, "grpo", clip | {"beta": 0.0, "kl": "k3"}, "mean-tokens", ppo)
    yield case("dapo-mean-tokens", with_adv, "dapo", dapo, "mean-tokens", ppo)
    yield case("dapo-by", with_adv, "dapo", dapo, {"by": 64})
    yield case("cispo-mean-tokens", with_adv, "cispo", {"clip_high": 0.25})
    yield case("cispo-token-weights-sum", with_adv | with_weights, "cispo", {"clip_high": 4.0}, "sum")
    on_policy = with_adv | {"old_log_probs": [f32(-x) for x in nll]}
    yield case("ppo-on-policy", on_policy, "ppo", clip, "mean-tokens", ppo)
    yield from row_dependent_cases(basic, with_weights, with_sequences)


def row_dependent_cases(basic, with_weights, with_sequences):
    """The objectives that look at the whole row: eaft at its entropy, deft at its collision probability."""
    whole_row = (
        "arXiv 2601.02151, but with the entropy of the whole row; the paper's code renormalises the top 20 logits "
        "and divides by 3.0"
    )
    sources = {"eaft": whole_row, "deft": "arXiv 2602.11424"}
    eaft = {"power": 1.0, "classes": 20}

    def make(name, inputs, objective, parameters, *rest, **options):
        return case(f"{objective}-{name}", inputs, objective, parameters, *rest, source=sources[objective], **options)

    yield case("eaft-top-classes", basic, "eaft", eaft, "mean-tokens", frameworks.eaft_top_classes)
    yield case("eaft-top-classes-power-2", basic, "eaft", eaft | {"power": 2.0}, check=frameworks.eaft_top_classes)
    yield case("deft-mean-tokens", basic, "deft", {}, "mean-tokens", frameworks.deft)
    yield make("defaults", basic, "eaft", {})
    for power, classes in ((0.5, 20), (2.0, 5), (0.0, 20)):
        parameters = {"power": power, "classes": classes}
        yield make(f"power-{power:g}-classes-{classes}", basic, "eaft", parameters)

    uniform = batch("row-uniform", 2, 33, ignored=()) | {"logits": [0.5] * (2 * 33)}  # ln 33 is more than ln 20
    holes = batch("row-holes", 5, 7)
    impossible = batch("row-impossible", 5, 7)
    for row in range(5):
        for j in range(row + 1):  # one to five impossible tokens, never the target
            if j != holes["targets"][row]:
                holes["logits"][row * 7 + j] = "-inf"
        if row in (0, 3):
            impossible["logits"][row * 7 + impossible["targets"][row]] = "-inf"
    impossible["logits"][0] = "-inf"  # and one that is not the target
    one_class = {"rows": 3, "vocab": 3, "targets": [0, 1, 1], "logits": ["-inf", 3.0, "-inf"] * 2 + [0.5, 1.0, "-inf"]}
    confident = confident_rows(
        "row-confident", 11, [("flat", 10), ("random", 15), ("flat", 27), ("wrong", 20), ("random", 12)]
    )
    poisoned = batch("row-poisoned", 4, 5, ignored=(1, 3))
    poisoned["logits"][5:10] = ["nan", "inf", "-inf", "nan", "nan"]
    poisoned["logits"][15:20] = ["-inf"] * 5
    smooth = {"label_smoothing": 0.125, "z_loss": 0.0078125}
    for objective, parameters in (("eaft", eaft), ("deft", {})):
        yield make("token-weights-mean-weights", with_weights, objective, parameters, "mean-weights")
        yield make("mean-sequences", with_sequences, objective, parameters, "mean-sequences")
        yield make("minus-infinity-off-target", holes, objective, parameters, "sum")
        yield make("impossible-target", impossible, objective, parameters, "sum")
        yield make("only-one-class-possible", one_class, objective, parameters, "sum")
        yield make("confident-rows", confident, objective, parameters, "sum")
        yield make("uniform-rows", uniform, objective, parameters)
        yield make("ignored-rows-are-not-read", poisoned, objective, parameters)
        yield make("logit-scale", basic, objective, parameters, logit_scale=1.75)
        yield make("softcap", basic, objective, parameters, softcap=3.0)
        for extras_scale in ("none", "objective"):
            options = smooth | {"extras_scale": extras_scale}
            yield make(f"extras-scaled-by-{extras_scale}", with_weights, objective, parameters, {"by": 11}, **options)


# ---- group_objectives.json -------------------------------------------------------------------------------------------


def group_cases():
    f = frameworks
    sides = ["token_weights", "ref_log_probs", "old_log_probs", "advantages", "groups"]
    # Sequences of 3, 4, 2 (all ignored), 1, 2 and an even number of counted sequences: the lower median is seen.
    pool = batch("group", 12, 6, ignored=(0, 5, 7, 8), cu_seqlens=[0, 3, 7, 9, 10, 12], sides=sides)
    advantages = zip(pool["cu_seqlens"], pool["cu_seqlens"][1:], (1.25, 0.75, 9.0, -0.5, -2.0))
    for first, last, advantage in advantages:  # one a sequence, as rewards are
        pool["advantages"][first:last] = [advantage] * (last - first)
    basic = {x: pool[x] for x in ("rows", "vocab", "logits", "targets", "ignore_index", "cu_seqlens")}
    flat = {x: y for x, y in basic.items() if x != "cu_seqlens"}
    with_weights = basic | {"token_weights": pool["token_weights"]}
    with_ref = basic | {"ref_log_probs": pool["ref_log_probs"]}
    with_old = basic | {x: pool[x] for x in ("old_log_probs", "advantages")}

    for tau_from in ("sequence-median", "token-median"):
        for normalize in ("none", "sum1-sequence", "sum1-batch", "mean1-batch"):
            parameters = {"floor": 0.015625, "tau_from": tau_from, "normalize": normalize}
            reduction = {"none": "mean-tokens", "sum1-sequence": "mean-sequences"}.get(normalize, "sum")
            disc = (tau_from, normalize) == ("sequence-median", "none")
            yield case(
                f"talr-auto-{tau_from}-{normalize}",
                basic,
                "talr-auto",
                parameters,
                reduction,
                f.talr_disc if disc else None,
            )
    parameters = {"floor": 0.25, "tau_from": "sequence-median", "normalize": "mean1-batch"}
    yield case("talr-auto-high-floor-token-weights", with_weights, "talr-auto", parameters, "mean-weights")
    parameters = {"floor": 0.0, "tau_from": "token-median", "normalize": "sum1-batch"}
    yield case("talr-auto-soft-minimum", flat, "talr-auto", parameters, "sum", f.talr_soft_minimum, value=False)
    parameters = {"floor": 0.015625, "tau_from": "sequence-median", "normalize": "none"}
    yield case("talr-auto-one-sequence", flat, "talr-auto", parameters)
    masked = basic | {"cu_seqlens": [0, 0, 1, 3, 7, 9, 10, 12]}
    with_empty = parameters | {"tau_from": "sequence-median-with-empty", "p_min": 0.125}
    for name, inputs in (("", basic), ("-more-empty", masked)):
        yield case(f"talr-auto-disc-whole{name}", inputs, "talr-auto", with_empty, "mean-tokens", f.talr_disc_whole)
    with_p_min = {"floor": 0.0, "tau_from": "token-median", "normalize": "sum1-batch", "p_min": 0.25}
    yield case("talr-auto-p-min-sum1-batch", flat, "talr-auto", with_p_min, "sum")
    certain = batch("group-certain", 4, 5, ignored=(), cu_seqlens=[0, 2, 4])
    for row, target in enumerate(certain["targets"]):
        certain["logits"][row * 5 + target] = f32(40.0 + row)
    yield case("talr-auto-tau-at-its-floor", certain, "talr-auto", parameters, "sum")

    yield case(
        "iw-sequence-num-items", with_ref, "iw-sequence", {"temperature": 1.0, "max": 16.0}, {"by": 13}, f.iw_sft
    )
    yield case(
        "iw-sequence-at-its-maximum", with_ref, "iw-sequence", {"temperature": 2.0, "max": 1.0}, {"by": 8}, f.iw_sft
    )
    yield case(
        "iw-sequence-token-weights",
        with_ref | with_weights,
        "iw-sequence",
        {"temperature": 1.0, "max": 16.0},
        "mean-sequences",
    )
    yield case("flow-median", with_ref, "flow", {}, "mean-tokens", f.flow)
    yield case("flow-fixed-tau", with_ref, "flow", {"tau": 1.5}, "mean-tokens", f.flow)
    yield case("flow-token-weights", with_ref | with_weights, "flow", {}, "mean-weights")
    yield case("dft-sequence-mean-tokens", basic, "dft-sequence")
    yield case("dft-sequence-mean-sequences", with_weights, "dft-sequence", {}, "mean-sequences")
    yield case("dft-sequence-product", basic, "dft-sequence", {"probability": "product"})

    for clip_low, clip_high in ((0.0003, 0.0004), (0.125, 0.125), (0.5, 0.5)):
        clip = {"clip_low": clip_low, "clip_high": clip_high}
        yield case(f"gspo-clip-{clip_high:g}", with_old, "gspo", clip, "mean-sequences", f.gspo_sequences)
    yield case("gspo-mean-tokens", with_old | with_weights, "gspo", {"clip_low": 0.5, "clip_high": 0.5})

    pairs = {"pairs": [[1, 0], [2, 3]]}
    duel = batch("group-dpo", 11, 6, ignored=(0, 4, 9), cu_seqlens=[0, 3, 6, 8, 11], sides=["ref_log_probs"])
    for reduction, check in (("mean-pairs", f.trl_dpo), ("sum", None), ({"by": 8}, None)):
        name = "by" if isinstance(reduction, dict) else reduction
        yield case(f"dpo-{name}", duel | pairs, "dpo", {"beta": 0.125}, reduction, check)
    yield case("dpo-steep", duel | pairs, "dpo", {"beta": 8.0}, "mean-pairs", f.trl_dpo)

    for reduction in ("sum", "mean-tokens", "mean-sequences", "mean-weights"):
        yield case(f"rft-{reduction}", with_weights | {"keep": [1, 0, 1, 1, 0]}, "rft", {}, reduction)
    yield case("rft-nothing-kept", basic | {"keep": [0, 0, 1, 0, 0]}, "rft")
    for share in (0.5, 0.25, 1.0):
        yield case(f"rho1-keep-{share:g}", with_ref, "rho1", {"keep": share}, "mean-tokens", f.rho1)
    yield case("rho1-mean-sequences", with_ref | with_weights, "rho1", {"keep": 0.625}, "mean-sequences")
    ties = batch("group-ties", 6, 5)
    ties |= {"logits": ties["logits"][:5] * 6, "targets": [2, IGNORED, 2, 2, 2, 2], "ref_log_probs": [-1.5] * 6}
    yield case("rho1-ties-go-to-the-lower-row", ties, "rho1", {"keep": 0.5})
    grouped = flat | {"groups": pool["groups"]}
    for weight in (0.25, 1.0):
        yield case(f"sft-go-worst-weight-{weight:g}", grouped, "sft-go", {"worst_weight": weight}, "mean-tokens", f.sft_go)
    yield case(
        "sft-go-token-weights-sum", grouped | {"token_weights": pool["token_weights"]}, "sft-go", {"worst_weight": 0.5}, "sum"
    )


# ---- dense_extras.json -----------------------------------------------------------------------------------------------


def extras_cases():
    plain = batch("extras", 5, 7, ignored=(2,))
    weighted = batch("extras-w", 5, 7, ignored=(0,), sides=["token_weights", "class_weights"])
    smooth, z_loss = {"label_smoothing": 0.125}, {"z_loss": 0.0078125}
    scaled = {"logit_scale": 0.625, "softcap": 3.0}
    everything = smooth | z_loss | scaled
    for name, options in (
        ("smooth", smooth),
        ("smooth-fully", {"label_smoothing": 1.0}),
        ("z-loss", z_loss),
        ("smooth-z-loss", smooth | z_loss),
        ("softcap", {"softcap": 3.0}),
        ("logit-scale", {"logit_scale": 1.75}),
        ("scale-then-softcap", scaled),
        ("everything", everything),
    ):
        yield case(f"sft-{name}", plain, "sft", **options)
        yield case(f"sft-{name}-weights", weighted, "sft", {}, "mean-weights", **options)
    for objective, parameters in (
        ("dft", {}),
        ("talr", {"tau": 0.75, "floor": 0.0625}),
        ("focal", {"gamma": 2.0}),
        ("power", {"alpha": 0.5}),
    ):
        for extras_scale in ("none", "objective"):
            options = everything | {"extras_scale": extras_scale}
            name = f"{objective}-extras-scaled-by-{extras_scale}"
            yield case(name, plain, objective, parameters, **options)
            yield case(f"{name}-weights", weighted, objective, parameters, {"by": 11}, **options)
    sequences = batch(
        "extras-seq", 8, 5, ignored=(3, 4), cu_seqlens=[0, 3, 5, 8], sides=["ref_log_probs", "class_weights"]
    )
    yield case("sft-everything-mean-sequences", sequences, "sft", {}, "mean-sequences", **everything)
    parameters = {"floor": 0.0625, "tau_from": "sequence-median", "normalize": "none"}
    for extras_scale in ("none", "objective"):
        options = everything | {"extras_scale": extras_scale}
        yield case(f"talr-auto-extras-scaled-by-{extras_scale}", sequences, "talr-auto", parameters, **options)
    yield case("flow-everything", sequences, "flow", {}, "mean-tokens", **everything)
    yield case("rho1-everything", sequences, "rho1", {"keep": 0.5}, "mean-weights", **everything)
    offset = batch("extras-offset", 4, 7)
    offset["logits"] = [round(x * 64) / 64 + 1000 for x in offset["logits"]]
    yield case("sft-z-loss-at-offset-1000", offset, "sft", z_loss=2.0**-20)
    yield case("sft-softcap-saturated", batch("extras-saturated", 4, 33, spread=60.0), "sft", softcap=30.0)
    for grad_scale in (0.5, 1024.0, -2.0, 0.0):
        scale = {"grad_scale": grad_scale}
        yield case(f"sft-grad-scale{grad_scale:+g}", plain, "sft", **scale)
        yield case(f"dft-everything-grad-scale{grad_scale:+g}", weighted, "dft", {}, "mean-weights",
                   **everything, extras_scale="objective", **scale)  # fmt: skip
    yield case("talr-auto-grad-scale", sequences, "talr-auto", parameters, {"by": 11}, **everything, grad_scale=1024.0)


# ---- files -----------------------------------------------------------------------------------------------------------

FILES = {
    "cross_entropy": ("torch.nn.functional.cross_entropy and its special cases", cross_entropy_cases),
    "confident": ("targets that are nearly certain, right and wrong, with full relative accuracy", confident_cases),
    "dft_frameworks": ("DFT as the frameworks divide it", dft_cases),
    "token_objectives": ("per-token objectives", token_cases),
    "group_objectives": ("per-sequence and per-batch objectives", group_cases),
    "dense_extras": ("label smoothing, z-loss, soft-cap, logit scale, gradient scale", extras_cases),
}


def render(description, cases):
    """One field a line, so that a drift reads well in a diff."""

    def fields(made, indent):
        lines = (
            f"{indent}{json.dumps(key)}: "
            + (f"{{\n{fields(x, indent + ' ')}\n{indent}}}" if key == "expected" else json.dumps(x))
            for key, x in made.items()
        )
        return ",\n".join(lines)

    made_with = "PyTorch " + torch.__version__.split("+")[0] + ", float64"
    head = f'{{\n"description": {json.dumps(description)},\n"made_with": {json.dumps(made_with)},\n"cases": [\n'
    return head + ",\n".join(f"{{\n{fields(made, ' ')}\n}}" for made in cases) + "\n]\n}\n"


def writable(x):
    """What JSON can write: infinities as strings, and no -0.0, which equals 0.0 and reads worse."""
    if isinstance(x, dict):
        return {key: writable(y) for key, y in x.items()}
    if isinstance(x, list):
        return [writable(y) for y in x]
    if isinstance(x, float):
        assert not math.isnan(x)
        return str(x) if math.isinf(x) else x + 0.0
    return x


def drift(ours, theirs, path, absolute):
    """The first difference between two JSON values, or None. Numbers agree within 1e-12 relative, or `absolute`."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = ((ours[key], theirs[key], f"{path}.{key}") for key in ours)
        return next(filter(None, (drift(a, b, where, absolute) for a, b, where in pairs)), None)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = ((a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs)))
        return next(filter(None, (drift(a, b, where, absolute) for a, b, where in pairs)), None)
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        close = math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=absolute)
        return None if close else f"{path}: {theirs!r}, now {ours!r}"
    return None if ours == theirs else f"{path}: {str(theirs)[:60]}, now {str(ours)[:60]}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    check = arguments.parse_args().check
    torch.set_num_threads(1)
    drifted = False
    for name, (description, cases) in FILES.items():
        path, made = FOLDER / f"{name}.json", writable(list(cases()))
        names = [x["name"] for x in made]
        assert len(set(names)) == len(names), f"{name}: a case name is used twice"
        committed = json.loads(path.read_text())["cases"] if check or path.exists() else []
        committed = {x["name"]: x for x in committed}
        absolute = 0.0 if name == "confident" else 1e-14
        if check:
            found = drift({x["name"]: x for x in made}, committed, name, absolute)
            print(found or f"{name}: {len(made)} cases agree")
            drifted |= found is not None
        else:
            # A case that agrees keeps its digits: the last ones depend on the machine.
            agrees = [drift(x, committed.get(x["name"]), "", absolute) is None for x in made]
            made = [committed[x["name"]] if kept else x for x, kept in zip(made, agrees)]
            path.write_text(render(description, made))
            print(f"{path.name}: {len(made)} cases, {path.stat().st_size // 1024} KiB")
    sys.exit(drifted)


if __name__ == "__main__":
    main()

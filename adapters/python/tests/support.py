"""What the tests share: the PyTorch vectors as keywords of a call, and a batch that every objective takes."""

import json
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parent.parent.parent.parent
INPUTS = ("token_weights", "class_weights", "ref_log_probs", "old_log_probs", "advantages", "cu_seqlens", "pairs", "keep", "groups")
OPTIONS = ("label_smoothing", "z_loss", "logit_scale", "softcap", "grad_scale")


def number(value):
    return float(value) if isinstance(value, str) else value


def cases():
    """(name, logits, targets, objective, keywords, expected) of every vector."""
    for path in sorted((ROOT / "tests" / "vectors").glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            shape = case["rows"], case["vocab"]
            keywords = {"ignore_index": case.get("ignore_index", -100), "cu_seqlens": numpy.array([0, case["rows"]]), **case.get("parameters", {})}
            for name in INPUTS:
                if name in case:
                    values = numpy.array(case[name], dtype=object)
                    keywords[name] = numpy.vectorize(number, otypes=[float])(values) if name not in ("pairs", "groups", "keep", "cu_seqlens") else \
                        numpy.array(case[name])
            keywords |= {name: case[name] for name in OPTIONS if name in case}
            if case.get("extras_scale") == "objective":
                keywords["extras_scale"] = "objective"
            reduction = case["reduction"]
            keywords |= {"reduction": "by", "reduction_by": reduction["by"]} if isinstance(reduction, dict) else {"reduction": reduction}
            logits = numpy.array([number(z) for z in case["logits"]], dtype="float32").reshape(shape)
            yield f"{path.stem}/{case['name']}", logits, numpy.array(case["targets"]), case["objective"], keywords, case["expected"]


def everything(rows, vocab, seed=0):
    """Logits, targets of which some are ignored, and all inputs that any objective needs."""
    random = numpy.random.default_rng(seed)
    logits = (2 * random.standard_normal((rows, vocab))).astype("float32")
    targets = random.integers(0, vocab, rows)
    targets[::5] = -100
    return logits, targets, {
        "ref_log_probs": -random.random(rows).astype("float32") * 4, "old_log_probs": -random.random(rows).astype("float32") * 4,
        "advantages": random.standard_normal(rows).astype("float32"), "groups": random.integers(0, 3, rows),
        "cu_seqlens": numpy.array([0, rows // 3, rows // 2, rows]), "pairs": numpy.array([[0, 1], [2, 1]]), "keep": numpy.array([1, 0, 1]),
    }


def close(actual, expected, relative=1e-5, scale=1e-6):
    """Within `relative` of itself, or `scale` of the largest entry; infinities and NaN where they are expected. Expectations may be off by 1e-15."""
    expected = numpy.asarray(expected, dtype=float)
    finite = expected[numpy.isfinite(expected)]
    largest = abs(finite).max() if finite.size else 0.0
    numpy.testing.assert_allclose(numpy.asarray(actual, dtype=float), expected, rtol=relative, atol=scale * largest + 1e-15)

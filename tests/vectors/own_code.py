"""The frameworks' own functions against `dft_frameworks.json`: out of their installed packages, not written anew.

    pip install torch
    pip install --no-deps trl==0.29.1 ms-swift==4.6.0 llamafactory==0.9.5
    python3 tests/vectors/own_code.py

A function is compiled from the file of its package, so that nothing else of a framework is imported and none of what it depends on need be
installed. ms-swift and LLaMA-Factory compute in float32. Liger's kernels want a GPU; its cases have its formula alone (`frameworks.py`).
"""

import ast
import importlib.metadata
import json
import pathlib
import sys
from types import SimpleNamespace
from typing import Optional

import torch
import torch.nn.functional as F

CASES = pathlib.Path(__file__).resolve().parent / "dft_frameworks.json"


def functions(package, file, *names):
    """These functions of a package's file."""
    [found] = [path for path in importlib.metadata.files(package) if str(path) == file]
    tree = ast.parse(found.locate().read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    assert len(tree.body) == len(names), f"{package} has no {names} in {file}"
    known = {"torch": torch, "nn": torch.nn, "F": F, "Optional": Optional}
    exec(compile(tree, file, "exec"), known)
    return [known[name] for name in names]


def shifted(case):
    """A label ahead of its logits, as causal models have them: one row of logits more, one label more."""
    z = torch.tensor(case["logits"], dtype=torch.float64).view(1, case["rows"], case["vocab"]).requires_grad_()
    padded = F.pad(z, (0, 0, 0, 1))
    return z, padded, torch.tensor([[-100, *case["targets"]]])


def num_items(case):
    return torch.tensor(case["reduction"]["by"]) if isinstance(case["reduction"], dict) else None


def trl():
    (softmax,) = functions("trl", "trl/trainer/utils.py", "selective_log_softmax")
    (dft_loss,) = functions("trl", "trl/trainer/sft_trainer.py", "dft_loss")
    dft_loss.__globals__["selective_log_softmax"] = softmax
    return lambda case, z, labels: dft_loss(SimpleNamespace(logits=z), labels, num_items(case))


def swift():
    (per_token,) = functions("ms-swift", "swift/trainers/utils.py", "per_token_loss_func")

    def loss(case, z, labels):
        losses = per_token(SimpleNamespace(logits=z), labels, enable_dft_loss=True)
        # The trainer's own lines: the scale after the weight, then the sum over the items.
        losses = losses * torch.tensor([*case.get("token_weights", [1.0] * case["rows"]), 0.0])
        items = num_items(case)
        return losses.sum() / ((labels != -100).sum() if items is None else items)

    return loss


def llama_factory():
    names = ["dft_loss_func", "_dft_cross_entropy"]
    dft, cross_entropy = functions("llamafactory", "llamafactory/train/trainer_utils.py", *names)
    dft.__globals__["_dft_cross_entropy"] = cross_entropy
    return lambda case, z, labels: dft({"logits": z}, labels, num_items(case))


def close(actual, expected, tolerance):
    actual, expected = (torch.as_tensor(x, dtype=torch.float64).flatten() for x in (actual, expected))
    return bool(((actual - expected).abs() <= tolerance * (1 + expected.abs())).all())


def main():
    frameworks = {"trl-": (trl(), 1e-12), "swift-": (swift(), 2e-6), "llama-factory-": (llama_factory(), 2e-6)}
    checked, wrong = 0, []
    for case in json.loads(CASES.read_text())["cases"]:
        for prefix, (loss, tolerance) in frameworks.items():
            if not case["name"].startswith(prefix):
                continue
            z, logits, labels = shifted(case)
            value = loss(case, logits, labels)
            (gradient,) = torch.autograd.grad(value, z)
            expected = case["expected"]
            if not (
                close(value.detach(), expected["loss"], tolerance) and close(gradient, expected["dlogits"], tolerance)
            ):
                wrong.append(case["name"])
            checked += 1
    print(f"{checked} cases by the frameworks' own code, wrong: {', '.join(wrong) or 'none'}")
    sys.exit(bool(wrong) or checked == 0)


if __name__ == "__main__":
    main()

"""How far PyTorch's float32 cross entropy and its gradient are from the exact ones.

    pip install torch
    python3 benches/accuracy/torch_errors.py > benches/accuracy/torch-f32.csv

`F.cross_entropy` and autograd, eager, on the CPU, on one thread, against float64 on the same float32 logits. Prints one
CSV line per family of rows, the worst case over its 8 rows:

    nll        relative error of -ln p of the target
    target     relative error of the target's entry of the gradient, p - 1
    others     largest relative error of the other entries, p
    row_sum    |sum of the gradient's row|, which should be 0, over its largest entry in absolute value

torch-f32.csv is from PyTorch 2.15.0 with AVX-512. The figures depend on how wide the vectors are that torch sums in.

# The rows

Every logit is an integer times a power of two that float32 holds exactly, so another program can make the same rows.

Draws are SplitMix64: a 64-bit state, and for each draw, modulo 2^64 and with logical shifts,

    state += 0x9E3779B97F4A7C15
    z = state
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    draw = z ^ (z >> 31)

The state starts at V, the number of classes, for every family; so families with the same V have the same draws. Each of
the 8 rows in turn takes 1 + 4 V draws:

    1 draw      the target, ((draw >> 32) * V) >> 32
    V times 4   a normal number for each class in order. The four draws give twelve 19-bit integers: bits 0 to 18, 19 to
                37 and 38 to 56 of each. With s their sum, n = 3 (s - 6 * 2^19) * 2^-19, almost N(0, 3^2), |n| <= 18.

The logits of a row with the normals n_0, n_1, ... and the target t:

    normal-V    n_j
    offset-V    floor(64 n_j) / 64 + 1000
    equal-V     n_0, all of them
    sure-G      G for t; for the others 0 in the first row, and -|n_j| in the next seven. V = 1000
    far-G       n_j, but -G for t. V = 1000
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 8
VOCABS = (1000, 32000, 151936)


def signed(x: int) -> int:
    """The same 64 bits as torch's int64, whose arithmetic wraps."""
    return x - (1 << 64) if x >> 63 else x


def shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical; torch's shift is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def draws(seed: int, count: int) -> Tensor:
    """The first `count` outputs of SplitMix64, as int64."""
    z = seed + torch.arange(1, count + 1) * signed(0x9E3779B97F4A7C15)
    z = (z ^ shift_right(z, 30)) * signed(0xBF58476D1CE4E5B9)
    z = (z ^ shift_right(z, 27)) * signed(0x94D049BB133111EB)
    return z ^ shift_right(z, 31)


def targets_and_normals(vocab: int) -> tuple[Tensor, Tensor]:
    """Targets, and normal numbers in float64."""
    rows = draws(vocab, ROWS * (1 + 4 * vocab)).view(ROWS, 1 + 4 * vocab)
    targets = (shift_right(rows[:, 0], 32) * vocab) >> 32
    fields = torch.stack([(rows[:, 1:] >> low) & 0x7FFFF for low in (0, 19, 38)])
    sums = fields.sum(0).view(ROWS, vocab, 4).sum(-1)
    return targets, 3 * (sums - 6 * 2**19).double() * 2.0**-19


def families() -> dict[str, tuple[Tensor, Tensor]]:
    """Logits in float64 and targets, by name."""
    made = {vocab: targets_and_normals(vocab) for vocab in VOCABS}
    found = {}
    for vocab, (targets, normals) in made.items():
        found[f"normal-{vocab}"] = normals, targets
    for vocab, (targets, normals) in made.items():
        found[f"offset-{vocab}"] = (64 * normals).floor() / 64 + 1000, targets
    for vocab, (targets, normals) in made.items():
        found[f"equal-{vocab}"] = normals[:, :1].repeat(1, vocab), targets
    targets, normals = made[1000]
    at = targets[:, None]
    background = -normals.abs()
    background[0] = 0
    for gap in (10, 12, 15, 20, 27):
        found[f"sure-{gap}"] = background.scatter(1, at, gap), targets
    for gap in (30, 80):
        found[f"far-{gap}"] = normals.scatter(1, at, -gap), targets
    return found


def exact(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-ln p and its gradient; without cancellation, because the target is left out of the sum."""
    at = targets[:, None]
    ratios = (logits - logits.gather(1, at)).exp().scatter(1, at, 0.0)  # p_j / p_t
    others = ratios.sum(1, keepdim=True)
    gradient = ratios.scatter(1, at, -others) / (1 + others)
    return others[:, 0].log1p(), gradient


def measured(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    nll = F.cross_entropy(logits, targets, reduction="none")
    nll.sum().backward()
    return nll.detach(), logits.grad


def errors(logits: Tensor, targets: Tensor) -> list[float]:
    assert logits.dtype == torch.float64
    narrow = logits.float()
    assert torch.equal(narrow.double(), logits), "a logit is not exact in float32"
    exact_nll, exact_gradient = exact(logits, targets)
    nll, gradient = (x.double() for x in measured(narrow, targets))
    at = targets[:, None]
    relative = (gradient - exact_gradient).abs() / exact_gradient.abs()
    row_sum = gradient.sum(1).abs() / gradient.abs().max(1).values
    return [
        ((nll - exact_nll).abs() / exact_nll).max().item(),
        relative.gather(1, at).max().item(),
        relative.scatter(1, at, 0.0).max().item(),
        row_sum.max().item(),
    ]


def main() -> None:
    torch.set_num_threads(1)
    print("family,nll,target,others,row_sum")
    for name, (logits, targets) in families().items():
        print(",".join([name, *(f"{x:.2e}" for x in errors(logits, targets))]), flush=True)


if __name__ == "__main__":
    main()

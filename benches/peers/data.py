"""The problems: logits and targets in files, and what the loss and its gradient should be, in float64."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

BYTES = {"f32": 4, "bf16": 2}


@dataclass(frozen=True)
class Problem:
    """Logits ~ N(0, 3²) and uniform targets in `folder`, and ln p of every target."""

    dtype: str
    rows: int
    vocab: int
    folder: Path
    targets: np.ndarray
    log_p: np.ndarray
    probed: dict[int, np.ndarray]  # the logits of the rows whose gradient is looked at

    @property
    def elements(self) -> int:
        return self.rows * self.vocab

    @property
    def bytes(self) -> int:
        return self.elements * BYTES[self.dtype]

    def loss(self, task: str) -> float:
        weights = np.exp(self.log_p) if task == "dft" else 1.0
        return float((-weights * self.log_p).mean())

    def gradient_error(self, task: str, gradient: np.ndarray) -> float:
        """The largest error among the probed rows of a gradient, 1 being the largest allowed."""
        # Half a unit in the last place of the type (and as much again), or what single precision makes of the target's entry.
        relative = 1e-5 if self.dtype == "f32" else 2.0**-8
        worst = 0.0
        for (row, logits), got in zip(self.probed.items(), gradient, strict=True):
            weight = np.exp(self.log_p[row]) if task == "dft" else 1.0
            p = np.exp(logits - logits.max())
            want = p / p.sum()
            want[self.targets[row]] -= 1
            error = np.abs(got * self.rows / weight - want) / (relative * np.abs(want) + 1e-6)
            worst = max(worst, float(np.nan_to_num(error, nan=np.inf).max()))
        return worst


def make(dtype: str, rows: int, vocab: int, folder: Path, seed: int = 1) -> Problem:
    """Writes a problem, a few rows at a time: in float64 a large one would not fit."""
    random = np.random.default_rng(seed)
    targets = random.integers(vocab, size=rows, dtype=np.uint32)
    targets.tofile(folder / "targets")
    probes = dict.fromkeys([0, rows // 2, rows - 1])
    log_p = np.empty(rows)
    probed: dict[int, np.ndarray] = {}
    step = max(1, (1 << 22) // vocab)
    with open(folder / "logits", "wb") as file:
        for start in range(0, rows, step):
            count = min(step, rows - start)
            logits = 3 * random.standard_normal((count, vocab), dtype=np.float32)
            if dtype == "bf16":
                bits = to_bf16(logits)
                bits.tofile(file)
                logits = from_bf16(bits)
            else:
                logits.tofile(file)
            z = logits.astype(np.float64)
            largest = z.max(axis=1)
            log_sum = largest + np.log(np.exp(z - largest[:, None]).sum(axis=1))
            here = slice(start, start + count)
            log_p[here] = z[np.arange(count), targets[here]] - log_sum
            probed |= {row: z[row - start].copy() for row in probes if start <= row < start + count}
    return Problem(dtype, rows, vocab, folder, targets, log_p, probed)


def read_gradient(problem: Problem) -> np.ndarray:
    """The probed rows as our worker saved them."""
    path = problem.folder / "gradient"
    if problem.dtype == "bf16":
        values = from_bf16(np.fromfile(path, np.uint16))
    else:
        values = np.fromfile(path, np.float32)
    return values.astype(np.float64).reshape(-1, problem.vocab)[: len(problem.probed)]


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Bit patterns, rounded to nearest, ties to even; no NaN comes here."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)

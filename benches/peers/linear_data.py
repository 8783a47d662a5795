"""The problems of the output layer: hidden states, weights and targets in files, and the loss and its gradients in float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import BYTES, from_bf16, to_bf16

IGNORED = -100
GRADIENTS = {"both": ("dhidden", "dweight"), "hidden": ("dhidden",)}


@dataclass(frozen=True)
class Shape:
    rows: int
    d: int
    vocab: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        return f"{self.rows}x{self.d}x{self.vocab}"


@dataclass(frozen=True)
class Problem:
    """H ~ N(0, 1) and W such that the logits are ~ N(0, 3²), rounded to `dtype`; uniform targets, `masked` percent of them ignored."""

    dtype: str
    shape: Shape
    masked: int
    folder: Path
    loss: float

    @property
    def logits_bytes(self) -> int:
        return self.shape.rows * self.shape.vocab * BYTES[self.dtype]

    @property
    def weight_bytes(self) -> int:
        return self.shape.vocab * self.shape.d * BYTES[self.dtype]

    def gradient_bytes(self, task: str) -> int:
        dhidden = self.shape.rows * self.shape.d * BYTES[self.dtype]
        return dhidden + self.weight_bytes * (task == "both")

    def error(self, name: str) -> tuple[float, float]:
        """Of the gradient that a worker has saved: root mean square and largest, each over that of the exact gradient."""
        exact = np.memmap(self.folder / f"exact-{name}", np.float64, "r")
        path = self.folder / name
        saved = np.memmap(path, np.float32 if path.stat().st_size == 4 * exact.size else np.uint16, "r")
        squares, largest = np.zeros(2), np.zeros(2)
        for part in blocks(exact.size, 1 << 22):
            got = saved[part] if saved.dtype == np.float32 else from_bf16(saved[part])
            for i, values in enumerate((got.astype(np.float64) - exact[part], exact[part])):
                squares[i] += values @ values
                largest[i] = max(largest[i], np.abs(values).max())
        path.unlink()
        return float(np.sqrt(squares[0] / squares[1])), float(largest[0] / largest[1])


def make(dtype: str, shape: Shape, masked: int, folder: Path, seed: int = 1) -> Problem:
    """Writes a problem."""
    random = np.random.default_rng(seed)
    hidden = write(folder / "hidden", dtype, random.standard_normal((shape.rows, shape.d), dtype=np.float32))
    weight = random.standard_normal((shape.vocab, shape.d), dtype=np.float32)
    weight *= np.float32(3 / shape.d**0.5)
    weight = write(folder / "weight", dtype, weight)
    targets = random.integers(shape.vocab, size=shape.rows)
    targets[random.permutation(shape.rows)[: shape.rows * masked // 100]] = IGNORED
    targets.tofile(folder / "targets")
    return Problem(dtype, shape, masked, folder, exact(hidden, weight, targets, folder))


def exact(hidden: np.ndarray, weight: np.ndarray, targets: np.ndarray, folder: Path) -> float:
    """The loss; writes the gradients. A block of classes at a time: the weights in float64 would be large."""
    kept = targets != IGNORED
    h, chosen = hidden[kept].astype(np.float64), (np.arange(kept.sum()), targets[kept])
    classes = list(blocks(len(weight), 1 << 14))
    z = np.empty((len(h), len(weight)))
    for part in classes:
        np.matmul(h, weight[part].T.astype(np.float64), out=z[:, part])
    z -= z.max(axis=1, keepdims=True)
    loss = -z[chosen].mean()
    np.exp(z, out=z)
    sums = z.sum(axis=1, keepdims=True)
    loss += np.log(sums).mean()
    z /= sums
    z[chosen] -= 1
    z /= len(h)
    dhidden = np.zeros(hidden.shape)
    with open(folder / "exact-dweight", "wb") as file:
        for part in classes:
            dhidden[kept] += z[:, part] @ weight[part].astype(np.float64)
            (z[:, part].T @ h).tofile(file)
    dhidden.tofile(folder / "exact-dhidden")
    return float(loss)


def blocks(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def write(path: Path, dtype: str, values: np.ndarray) -> np.ndarray:
    """Returns the values as they were written."""
    if dtype == "bf16":
        bits = to_bf16(values)
        bits.tofile(path)
        return from_bf16(bits)
    values.tofile(path)
    return values


@dataclass(frozen=True)
class Setup:
    """A problem as the Python workers read it. 16-bit values are bit patterns here, for numpy has no bf16."""

    task: str
    dtype: str
    threads: int
    hidden: np.ndarray
    weight: np.ndarray
    targets: np.ndarray
    folder: Path

    def save(self, **gradients: np.ndarray) -> None:
        for name, gradient in gradients.items():
            gradient.tofile(self.folder / name)


def read_setup(task: str, dtype: str, rows: str, d: str, vocab: str, threads: str, folder: str) -> Setup:
    """FOLDER/hidden, FOLDER/weight and FOLDER/targets (i64, −100 for ignored). Tasks are `both` (dH and dW) and `hidden` (dH)."""
    place, width = Path(folder), int(d)
    stored = {"f32": np.float32, "bf16": np.uint16}[dtype]
    hidden = np.fromfile(place / "hidden", stored).reshape(int(rows), width)
    weight = np.fromfile(place / "weight", stored).reshape(int(vocab), width)
    targets = np.fromfile(place / "targets", np.int64)
    return Setup(task, dtype, int(threads), hidden, weight, targets, place)

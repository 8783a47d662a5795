"""PyTorch's output layer and cross-entropy as a worker: `worker_linear_torch.py eager|upcast|fused|liger [ROWS]`, ROWS of a chunk."""

import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_data import IGNORED, Setup, read_setup
from protocol import serve

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def eager(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets)


def upcast(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """What most trainers do with 16-bit logits."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets)


def fused(rows: int | None) -> Loss:
    """torch's own loss in chunks, by default as many rows as it chooses."""
    if rows:
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows, chunking_method=None)
    else:
        options = torch.nn.LinearCrossEntropyOptions()
    return lambda hidden, weight, targets: F.linear_cross_entropy(hidden, weight, targets, options=options)


class Liger(torch.autograd.Function):
    """The algorithm of Liger's fused linear cross-entropy, whose kernels want a GPU: logits of a chunk, their gradient in place, its products."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int | None) -> Tensor:
        count, vocab = (targets != IGNORED).sum(), len(weight)
        rows = min(rows or liger_rows(*hidden.shape, vocab), len(hidden))
        dhidden = torch.empty_like(hidden)
        dweight = torch.zeros_like(weight) if weight.requires_grad else None
        logits = hidden.new_empty(rows, vocab)
        loss = torch.zeros(())
        for h, target, dh in zip(hidden.split(rows), targets.split(rows), dhidden.split(rows), strict=True):
            z = torch.mm(h, weight.t(), out=logits[: len(h)])
            loss += gradient_in_place(z, target, count)
            torch.mm(z, weight, out=dh)
            if dweight is not None:
                dweight.addmm_(z.t(), h)
        ctx.gradients = dhidden, dweight
        return loss

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # As the last function of a graph it is given 1, and Liger does not multiply either.
        assert upstream.item() == 1
        dhidden, dweight = ctx.gradients
        del ctx.gradients  # whoever holds it too makes autograd copy it
        return dhidden, dweight, None, None


def liger_rows(rows: int, d: int, vocab: int) -> int:
    """As many rows as make the logits of a chunk about as large as the hidden states."""
    return 1 << (-(-rows // -(-vocab // d)) - 1).bit_length()


def gradient_in_place(logits: Tensor, targets: Tensor, count: Tensor) -> Tensor:
    """Overwrites the logits; in f32 inside, as Liger's kernel. Returns the chunk's part of the mean."""
    z = logits.float()  # of f32, itself
    scale = (targets != IGNORED) / count
    index = targets.clamp(min=0).unsqueeze(1)
    z.sub_(z.amax(1, keepdim=True))
    chosen = z.gather(1, index).squeeze(1)
    sums = z.exp_().sum(1)
    z.mul_((scale / sums).unsqueeze(1)).scatter_add_(1, index, -scale.unsqueeze(1))
    if z is not logits:
        logits.copy_(z)
    return ((sums.log() - chosen) * scale).sum()


class Torch:
    def __init__(self, setup: Setup, way: str, rows: int | None) -> None:
        torch.set_num_threads(setup.threads)
        self.loss: Loss = {
            "eager": eager,
            "upcast": upcast,
            "fused": fused(rows),
            "liger": lambda *operands: Liger.apply(*operands, rows),
        }[way]
        # Copies in torch's own memory, as a model would have left them.
        self.hidden = tensor(setup.hidden).requires_grad_()
        self.weight = tensor(setup.weight).requires_grad_(setup.task == "both")
        self.targets = torch.from_numpy(setup.targets)
        self.write = setup.save

    def prepare(self) -> None:
        self.hidden.grad = self.weight.grad = None

    def call(self) -> float:
        loss = self.loss(self.hidden, self.weight, self.targets)
        loss.backward()
        return loss.item()

    def release(self) -> None:
        pass

    def save(self) -> None:
        self.write(dhidden=array(self.hidden.grad))
        if self.weight.requires_grad:
            self.write(dweight=array(self.weight.grad))


def tensor(values: np.ndarray) -> Tensor:
    stored = torch.from_numpy(values)
    return (stored.view(torch.bfloat16) if stored.dtype == torch.uint16 else stored).clone()


def array(gradient: Tensor) -> np.ndarray:
    return (gradient.view(torch.uint16) if gradient.dtype == torch.bfloat16 else gradient).numpy()


if __name__ == "__main__":
    way, *chunk = sys.argv[1:]
    serve(lambda *arguments: Torch(read_setup(*arguments), way, *map(int, chunk or [0])))

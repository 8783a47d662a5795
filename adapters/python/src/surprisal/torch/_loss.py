"""Losses of logits. The loss keeps nine numbers a row, from which the backward pass writes the gradient, once, with the upstream factor in it."""

from typing import List, Tuple

import torch
from torch import Tensor

from .. import _abi, _stages
from .._arrays import is_row_major
from .._library import refuse
from .._report import Report
from ._tensors import array, matrix, rows_of, settled, structs, targets_of


def loss(logits, targets, objective="dft", *, in_place=False, ignore_index=_abi.IGNORE_INDEX, threads=None, **options):
    """Loss of `logits` `[..., vocab]` on the CPU (float32, bfloat16 or float16): a float32 scalar that torch differentiates.

    `targets`: an id for each row (int32 or int64), already shifted. Keywords are those of `surprisal.forward_backward`, as tensors or numbers; they get no
    gradient. `threads`: `torch.get_num_threads()` by default; results have the same bits with any.

    Nothing of the logits' size is kept for the backward pass but the logits. It multiplies by the upstream gradient before it rounds, so that the factor
    of a GradScaler costs no digit of float16; it may run more than once.

    `in_place`: loss and gradient in one pass, with the gradient written over the logits, at once: no second matrix. Then the logits are gone, the backward
    pass runs once, an upstream factor other than 1 is multiplied into the rounded gradient (`grad_scale` is multiplied before it is rounded), and
    an operation before the loss whose backward pass needs the logits (tanh, not a matrix product) is refused by torch. Without a gradient to compute,
    the logits stay.
    """
    rows = rows_of("logits", logits)
    ids = targets_of(targets, rows.shape[0])
    inputs, settings = settled(objective, ignore_index, threads, options)
    if in_place and logits.requires_grad and torch.is_grad_enabled():
        return _in_place(logits, ids, inputs, settings)
    return terms(rows, ids, inputs, settings)[0]


@torch.library.custom_op("surprisal::terms", mutates_args=())
def terms(logits: Tensor, targets: Tensor, inputs: List[Tensor], settings: str) -> Tuple[Tensor, Tensor, Tensor]:
    """The loss, and for each row the statistics and the terms that its gradient is made of."""
    rows, vocab = logits.shape
    of, batch, threads = structs(targets, vocab, inputs, settings)
    stats, parts = torch.empty(rows, 6, dtype=torch.float64), torch.empty(rows, 3, dtype=torch.float64)
    report = _stages.terms(of, batch, matrix("logits", logits), array(stats), array(parts), threads)
    return torch.tensor(report.loss, dtype=torch.float32), stats, parts


@terms.register_fake
def _(logits, targets, inputs, settings):
    rows = logits.shape[0]
    return logits.new_empty((), dtype=torch.float32), *(logits.new_empty(rows, width, dtype=torch.float64) for width in (6, 3))


@torch.library.custom_op("surprisal::logits_grad", mutates_args=())
def logits_grad(logits: Tensor, targets: Tensor, inputs: List[Tensor], settings: str, stats: Tensor, parts: Tensor) -> Tensor:
    """The gradient with respect to the logits, contiguous."""
    of, batch, threads = structs(targets, logits.shape[1], inputs, settings)
    out = torch.empty(logits.shape, dtype=logits.dtype)
    _stages.gradient(of, batch, matrix("logits", logits), array(stats.contiguous()), array(parts.contiguous()), array(out), threads)
    return out


@logits_grad.register_fake
def _(logits, targets, inputs, settings, stats, parts):
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


def keep(ctx, inputs, output):
    """What the backward pass of an operator over logits reads."""
    logits, targets, tensors, ctx.settings = inputs
    _, stats, parts = output
    ctx.save_for_backward(logits, targets, stats, parts, *tensors)


def write(ctx, scale):
    """The gradient of kept logits, with the terms as `scale` makes them."""
    logits, targets, stats, parts, *tensors = ctx.saved_tensors
    return logits_grad(logits, targets, tensors, ctx.settings, stats, scale(parts)), None, [None] * len(tensors), None


def _backward(ctx, upstream, _stats, _parts):
    return write(ctx, lambda parts: parts * upstream.to(torch.float64))


terms.register_autograd(_backward, setup_context=keep)


@torch.compiler.disable
def _in_place(logits, targets, inputs, settings):
    if logits.is_leaf:
        refuse("in_place", "the logits are a leaf that requires a gradient, which cannot be written over")
    rows = rows_of("logits", logits.detach())
    if rows.data_ptr() != logits.data_ptr() or not is_row_major(rows.shape, rows.stride()):
        refuse("in_place", "the logits' rows are not contiguous")
    return InPlace.apply(logits, rows, targets, inputs, settings)


class InPlace(torch.autograd.Function):
    """Loss and gradient in one pass, over the logits themselves."""

    @staticmethod
    def forward(ctx, logits, rows, targets, inputs, settings):
        of, batch, threads = structs(targets, rows.shape[1], inputs, settings)
        z = matrix("logits", rows)
        report = _stages.forward(of, batch, z, z, {}, threads)
        # Whoever has kept the logits for a backward pass of its own is told by torch.
        torch.autograd.graph.increment_version(logits)
        ctx.gradient, ctx.version = logits.detach(), logits._version
        return torch.tensor(report.loss, dtype=torch.float32)

    @staticmethod
    def backward(ctx, upstream):
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("surprisal: the gradient that lay over the logits has been handed on: in_place has one backward pass")
        if gradient._version != ctx.version:
            raise RuntimeError("surprisal: the logits, which hold their gradient since the loss was taken in place, were written to")
        return gradient if upstream == 1 else gradient.mul_(upstream), None, None, None, None


def forward(logits, targets, objective="dft", *, outputs=(), ignore_index=_abi.IGNORE_INDEX, threads=None, **options):
    """The report of a loss, and per-token outputs by name (`surprisal.OUTPUTS`; argmax is int32, -1 on ignored rows), without a gradient."""
    rows = rows_of("logits", logits.detach())
    ids = targets_of(targets, rows.shape[0])
    inputs, settings = settled(objective, ignore_index, threads, options)
    of, batch, count = structs(ids, rows.shape[1], inputs, settings)
    kinds = {"argmax": torch.int32, "correct": torch.uint8} | dict.fromkeys(("losses", "nll", "log_probs", "entropy", "weights"), torch.float32)
    wanted = {name: torch.empty(rows.shape[0], dtype=kinds.get(name) or refuse("outputs", f"there is no {name!r}")) for name in outputs}
    report = _stages.forward(of, batch, matrix("logits", rows), None, {name: array(tensor) for name, tensor in wanted.items()}, count)
    return Report.of(report), {name: tensor.reshape(logits.shape[:-1]) for name, tensor in wanted.items()}

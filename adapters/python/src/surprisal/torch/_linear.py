"""Output layer and loss in one: the logits are never whole."""

from ctypes import byref, c_size_t, pointer
from typing import List, Optional, Tuple

import torch
from torch import Tensor

from .. import _abi
from .._arrays import FLOATS, workspace
from .._library import checked, main, new, refuse
from ._product import Gemm
from ._tensors import NAMES, on_cpu, rows_of, settled, structs, targets_of


def linear_loss(hidden, weight, targets, objective="dft", *, bias=None, chunk_rows=0, ignore_index=_abi.IGNORE_INDEX, threads=None, **options):
    """Loss of the logits `hidden @ weight.T + bias`, a chunk of rows at a time (`chunk_rows`; 0 for 512): a float32 scalar that torch differentiates.

    `hidden` `[..., d]`, `weight` `[vocab, d]`, `bias` `[vocab]`, in float32, bfloat16 or float16 on the CPU. Ignored rows are left out before the first
    product. Products are torch's, in float32. The gradients of those that require one are computed with the loss and kept in float32; the backward
    pass multiplies them by the upstream gradient and rounds them once. Other arguments are those of `loss`.
    """
    rows = rows_of("hidden", hidden)
    rows_of("weight", weight)
    if weight.shape[1:] != rows.shape[1:]:
        refuse("weight", f"has shape {tuple(weight.shape)} for hidden states of {rows.shape[1]}")
    if bias is not None and on_cpu("bias", bias).shape != weight.shape[:1]:
        refuse("bias", f"has shape {tuple(bias.shape)} for {weight.shape[0]} classes")
    inputs, settings = settled(objective, ignore_index, threads, options)
    ids = targets_of(targets, rows.shape[0])
    wants = [tensor is not None and tensor.requires_grad and torch.is_grad_enabled() for tensor in (hidden, weight, bias)]
    return linear(rows, weight, bias, ids, inputs, settings, chunk_rows, wants)[0]


def _operand(kind, tensor):
    """surprisal_matrix of a tensor with one of its strides 1. A dimension of one entry has any stride; the library's 0 is its default."""
    result = new(kind)
    result.data, result.dtype = tensor.data_ptr(), FLOATS[NAMES[tensor.dtype]]
    result.rows, result.cols = tensor.shape
    result.row_stride, result.col_stride = (stride if size > 1 else 0 for stride, size in zip(tensor.stride(), tensor.shape))
    return result


def _dense(tensor):
    return tensor if 1 in tensor.stride() else tensor.contiguous()


@torch.library.custom_op("surprisal::linear", mutates_args=())
def linear(hidden: Tensor, weight: Tensor, bias: Optional[Tensor], targets: Tensor, inputs: List[Tensor], settings: str, chunk_rows: int,
           wants: List[bool]) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, and in float32 the gradients that are wanted; empty ones for the others."""
    of, batch, threads = structs(targets, weight.shape[0], inputs, settings)
    hidden, weight = _dense(hidden), _dense(weight)
    bias = None if bias is None else bias.to(torch.float32).contiguous()
    results = _results(hidden, weight, wants)
    gemm, layer, gradients = Gemm(threads), new(_abi.LinearLayer), new(_abi.LinearGradients)
    layer.weight, layer.gemm = pointer(_operand(_abi.Matrix, weight)), pointer(gemm.struct)
    layer.bias = None if bias is None else bias.data_ptr()
    for name, wanted, result in zip(("hidden", "weight"), wants, results):
        if wanted:
            setattr(gradients, name, pointer(_operand(_abi.MatrixMut, result)))
    gradients.bias = results[2].data_ptr() if wants[2] else None
    size, report = c_size_t(), _abi.Report()
    checked(main.surprisal_linear_workspace_size, of, layer, hidden.shape[0], chunk_rows, byref(size))
    checked(main.surprisal_linear_forward_backward, of, layer, batch, _operand(_abi.Matrix, hidden), gradients, None, workspace(size.value), report)
    if gemm.error is not None:
        raise gemm.error
    return torch.tensor(report.loss, dtype=torch.float32), *results


def _results(hidden, weight, wants):
    """dW and dbias are added to what is there."""
    shapes = (hidden.shape, weight.shape, weight.shape[:1])
    return [torch.zeros(shape if wanted else 0, dtype=torch.float32, device=hidden.device) for wanted, shape in zip(wants, shapes)]


@linear.register_fake
def _(hidden, weight, bias, targets, inputs, settings, chunk_rows, wants):
    return hidden.new_empty((), dtype=torch.float32), *_results(hidden, weight, wants)


def _keep(ctx, inputs, output):
    hidden, weight, bias, _, tensors, _, _, ctx.wants = inputs
    ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (hidden, weight, bias)]
    ctx.count = len(tensors)
    ctx.save_for_backward(*output[1:])


def _backward(ctx, upstream, *_):
    scaled = [(upstream * gradient).to(dtype) if wanted else None for gradient, dtype, wanted in zip(ctx.saved_tensors, ctx.dtypes, ctx.wants)]
    return *scaled, None, [None] * ctx.count, None, None, None


linear.register_autograd(_backward, setup_context=_keep)

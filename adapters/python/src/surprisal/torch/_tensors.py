"""Tensors as the library sees them, and a call's settings as the string that goes through torch's operators."""

from functools import lru_cache

import torch

from .. import _abi, _inputs
from .._arrays import Array, check_matrix, is_row_major
from .._library import Error, refuse

NAMES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.float64: "f64", torch.int32: "i32", torch.int64: "i64",
         torch.uint8: "u8"}
# u32 and u64 as torch has them: with the same bits, since what is negative is refused.
TYPES = {"f32": torch.float32, "i64": torch.int64, "u8": torch.uint8, "u32": torch.int32, "u64": torch.int64}
ELSEWHERE = "is on {}: such tensors stay with torch's own kernels; surprisal is for tensors on the CPU, and a reference for the others"


def array(tensor):
    """The memory of a tensor, without a copy."""
    return Array(tensor, tensor.data_ptr(), NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), tensor.stride())


def on_cpu(name, tensor):
    if not isinstance(tensor, torch.Tensor):
        refuse(name, f"is no tensor, but a {type(tensor).__name__}")
    if tensor.device.type != "cpu":
        refuse(name, ELSEWHERE.format(tensor.device))
    return tensor


def rows_of(name, tensor):
    """A tensor `[..., columns]` as rows; its own memory wherever torch can say so by strides."""
    on_cpu(name, tensor)
    if tensor.dim() < 2 or tensor.shape[-1] == 0:
        refuse(name, f"has shape {tuple(tensor.shape)} in place of [..., columns]")
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        refuse(name, f"is of {tensor.dtype}; float32, bfloat16 and float16 are what the library computes in")
    if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape)):
        refuse(name, "is expanded: its rows share memory (contiguous() makes a tensor of its own)")
    return tensor.reshape(tensor.numel() // tensor.shape[-1], tensor.shape[-1])


def matrix(name, tensor):
    """Rows for the library: the tensor's own if their entries are adjacent, else a copy."""
    result = array(tensor if is_row_major(tensor.shape, tensor.stride()) else tensor.contiguous())
    check_matrix(name, result)
    return result


def targets_of(tensor, rows):
    on_cpu("targets", tensor)
    if tensor.dtype not in (torch.int32, torch.int64):
        refuse("targets", f"are of {tensor.dtype}, not int32 or int64")
    if tensor.numel() != rows:
        refuse("targets", f"are {tensor.numel()} for {rows} rows")
    return tensor.reshape(-1).contiguous()


def vector(name, value, dtype):
    """An input beside the logits, of the type that the library takes."""
    value = on_cpu(name, torch.as_tensor(value)).contiguous()
    if value.requires_grad:
        refuse(name, "requires a gradient, and gets none: detach it")
    if dtype != "f32" and value.dtype.is_floating_point:
        refuse(name, f"has entries of {value.dtype}, which are no integers")
    if name in _inputs.PER_ROW:
        value = value.reshape(-1)
    if dtype == "u32":
        # What does not fit must not become an id that does.
        value = value.clamp(-1, 2**31 - 1)
    return value.to(TYPES[dtype])


def settled(objective, ignore_index, threads, options):
    """The inputs among the options as tensors, and everything else as text."""
    given, rest = _inputs.split(options)
    for name, value in rest.items():
        # A tensor of one element, as trainers count tokens.
        rest[name] = value.item() if isinstance(value, torch.Tensor) else value
    inputs = [vector(name, value, _inputs.INPUTS[name]) for name, value in given.items()]
    fixed = [objective, f"{ignore_index}", f"{threads or 0}", " ".join(given)]
    return inputs, "\n".join(fixed + [f"{name} {value}" for name, value in rest.items()])


@lru_cache(maxsize=256)
def _parsed(settings):
    objective, ignore_index, threads, names, *options = settings.split("\n")
    return _inputs.loss(objective, dict(map(_option, options))), int(ignore_index), int(threads), names.split()


def _option(text):
    name, value = text.split(" ", 1)
    try:
        return name, {"True": 1.0, "False": 0.0}[value] if value in ("True", "False") else float(value)
    except ValueError:
        return name, value


def structs(targets, vocab, inputs, settings):
    """Loss and batch of a call, with the number of its threads."""
    loss, ignore_index, threads, names = _parsed(settings)
    arrays = dict(zip(names, map(array, inputs)))
    batch = _inputs.batch(array(targets), ignore_index, arrays)
    return _inputs.with_class_weights(loss, arrays, vocab), batch, threads or torch.get_num_threads()

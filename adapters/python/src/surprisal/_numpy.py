"""numpy arrays as the library sees them. numpy itself is imported where an array must be made."""

from ._arrays import Array, is_row_major
from ._library import refuse

NAMES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "float64": "f64", "int32": "i32", "int64": "i64", "uint8": "u8", "uint32": "u32",
         "uint64": "u64"}
TYPES = {name: full for full, name in NAMES.items()}


def numpy():
    try:
        import numpy
    except ImportError:
        raise ImportError("surprisal's functions on arrays need numpy: pip install numpy") from None
    return numpy


def array(value):
    """The memory of a numpy array, without a copy."""
    size = value.dtype.itemsize
    strides = tuple(stride // size if stride % size == 0 else -1 for stride in value.strides)
    return Array(value, value.__array_interface__["data"][0], NAMES.get(value.dtype.name, value.dtype.name), value.shape, strides)


def vector(name, value, dtype):
    """An input beside the logits, as the type that the library takes: a copy unless it is that already."""
    np = numpy()
    value = np.asarray(value)
    if dtype != "f32" and value.dtype != bool:
        if value.dtype.kind not in "iu":
            refuse(name, f"has entries of {value.dtype}, which are no integers")
        limits = np.iinfo(TYPES[dtype])
        if value.size > 0 and (value.min() < limits.min or value.max() > limits.max):
            refuse(name, f"has an entry outside {limits.min} .. {limits.max}")
    return array(np.ascontiguousarray(value, dtype=TYPES[dtype]))


def targets(value):
    np = numpy()
    value = np.asarray(value)
    if value.dtype.name not in ("int32", "int64"):
        refuse("targets", f"are of {value.dtype}, not int32 or int64")
    return array(np.ascontiguousarray(value.reshape(-1)))


def matrix(name, value, writable=False):
    """Logits `[..., vocab]` as rows: the array's own memory if its rows are contiguous, else a copy, which what is written may not be."""
    np = numpy()
    if not isinstance(value, np.ndarray) or value.ndim < 2 or value.shape[-1] == 0:
        refuse(name, "is no numpy array [..., vocab] of two dimensions or more")
    if value.size > 0 and any(stride == 0 and size > 1 for stride, size in zip(value.strides, value.shape)):
        refuse(name, "is broadcast: its rows share memory (numpy.ascontiguousarray makes an array of its own)")
    rows = value.reshape(value.size // value.shape[-1], value.shape[-1])
    if not is_row_major(rows.shape, array(rows).strides):
        rows = np.ascontiguousarray(rows)
    copied = rows.size > 0 and not np.may_share_memory(rows, value)
    if writable and (copied or not value.flags.writeable):
        refuse(name, "cannot be written: its rows are not contiguous, or it is read-only")
    return array(rows)

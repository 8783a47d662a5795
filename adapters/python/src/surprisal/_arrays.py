"""Arrays as the library sees them: an address, a type, a shape and strides. The same for numpy and torch."""

from ctypes import addressof, c_uint64
from dataclasses import dataclass
from typing import Any

from . import _abi
from ._library import new, refuse

BYTES = {"f32": 4, "f16": 2, "bf16": 2, "f64": 8, "i32": 4, "i64": 8, "u8": 1, "u32": 4, "u64": 8}
FLOATS = {"f32": _abi.Dtype.F32, "f16": _abi.Dtype.F16, "bf16": _abi.Dtype.BF16}
# The library takes no NULL, not even for nothing: an address that nobody reads.
NOWHERE = 64


@dataclass(frozen=True, slots=True)
class Array:
    """Strides count elements. `owner` keeps the memory alive."""

    owner: Any
    address: int
    dtype: str
    shape: tuple
    strides: tuple

    @property
    def data(self):
        return self.address or NOWHERE


def is_row_major(shape, strides):
    """Whether a matrix has rows of adjacent entries that do not overlap."""
    (rows, columns), (row, column) = shape, strides
    return rows == 0 or (columns <= 1 or column == 1) and (rows == 1 or row >= columns)


def check_matrix(name, array):
    if array.dtype not in FLOATS:
        refuse(name, f"is of {array.dtype}; f32, bf16 and f16 are what the library computes in")
    if len(array.shape) != 2:
        refuse(name, f"has {len(array.shape)} dimensions in place of rows and classes")
    if not is_row_major(array.shape, array.strides):
        refuse(name, "has rows that are not contiguous, or that overlap")


def rows_of(kind, matrix, begin, end):
    """Rows `begin .. end` of a matrix as one of the four structs of matrices, which know their place in the batch."""
    rows, columns = matrix.shape
    stride = matrix.strides[0] if rows > 1 else columns
    struct = new(kind)
    struct.data = matrix.data + begin * stride * BYTES[matrix.dtype]
    struct.rows, struct.row_start, struct.rows_total = end - begin, begin, rows
    if kind in (_abi.Logits, _abi.LogitsMut):
        struct.vocab = columns
    else:
        struct.cols = columns
    struct.row_stride, struct.dtype = stride, FLOATS[matrix.dtype]
    return struct


def workspace(size):
    """Memory for a call: the struct, which keeps it alive."""
    memory = (c_uint64 * ((size + 7) // 8))()
    struct = new(_abi.Workspace)
    struct.data, struct.size, struct.memory = (addressof(memory), 8 * len(memory), memory) if size else (None, 0, None)
    return struct

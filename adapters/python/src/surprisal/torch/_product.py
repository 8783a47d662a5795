"""Matrix products and threads for the library's output layer: torch's, by ctypes callbacks."""

from ctypes import CFUNCTYPE, c_float, c_size_t, c_void_p

import torch

from .. import _abi
from .._library import new
from .._threads import each

HOOKS = dict(_abi.Gemm._fields_)
TASK = CFUNCTYPE(None, c_void_p, c_size_t)


def operand(address, rows, columns, row_stride, column_stride):
    """A matrix at an address, as a tensor over the same memory."""
    extent = (rows - 1) * row_stride + (columns - 1) * column_stride + 1
    memory = (c_float * extent).from_address(address)
    return torch.frombuffer(memory, dtype=torch.float32).as_strided((rows, columns), (row_stride, column_stride))


def product(_, m, n, k, a, a_row, a_column, b, b_row, b_column, beta, c, c_row, c_column):
    left, right, out = operand(a, m, k, a_row, a_column), operand(b, k, n, b_row, b_column), operand(c, m, n, c_row, c_column)
    if beta == 0.0:
        torch.mm(left, right, out=out)
    else:
        out.addmm_(left, right)


class Gemm:
    """`struct`, for one call. An exception cannot pass through C: it waits in `error`."""

    def __init__(self, threads):
        self.threads, self.error, self.struct = threads, None, new(_abi.Gemm)
        self.struct.product = HOOKS["product"](self.guarded(product))
        self.struct.parallel = HOOKS["parallel"](self.guarded(self.parallel))

    def guarded(self, hook):
        def call(*arguments):
            try:
                hook(*arguments)
            except BaseException as error:
                self.error = self.error or error

        return call

    def parallel(self, _, tasks, task, work):
        run, lanes = TASK(task), min(self.threads, tasks)
        each(lanes, lambda lane: [run(work, index) for index in range(lane, tasks, lanes)])

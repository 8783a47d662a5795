"""The shared libraries beside this file: their functions by name, and their errors as exceptions."""

import re
from ctypes import CDLL, byref, sizeof
from functools import cache
from pathlib import Path

from . import _abi

NO_ROW = -1


class Error(ValueError):
    """What is wrong with a call. Nothing has been written, but by other threads of the call to rows of their own.

    `argument`: its name, as "targets"; `row`: the row, entry or pair, or None; `value`: what was found there; `status`: a `Status`.
    """

    def __init__(self, message, argument="", row=None, value=None, status=_abi.Status.SHAPE):
        super().__init__(message)
        self.argument, self.row, self.value, self.status = argument, row, value, status


def refuse(argument, sentence):
    raise Error(f"{argument}: {sentence}", argument)


def open_library(name, functions):
    library = CDLL(str(Path(__file__).with_name(f"lib{name}.so")))
    for function, (returns, arguments) in functions.items():
        found = getattr(library, function)
        found.restype, found.argtypes = returns, arguments
    return library


main = open_library("surprisal", _abi.FUNCTIONS)
if main.surprisal_abi_version() != _abi.ABI_VERSION:
    raise ImportError(f"surprisal: the library is of ABI {main.surprisal_abi_version()}, the package of {_abi.ABI_VERSION}")


@cache
def tools():
    return open_library("surprisal_tools", _abi.TOOLS)


def checked(function, *arguments):
    """Calls a function that takes a detail last; raises what it says."""
    detail = _abi.ErrorDetail()
    if function(*arguments, byref(detail)) == 0:
        return
    message, row, value = detail.message.decode(), None, None
    if detail.index != NO_ROW:
        row, value = detail.index, detail.value
        message += f" (entry {row}: {value:.17g})"
    raise Error(message, detail.argument.decode(), row, value, _abi.Status(detail.status))


@cache
def _initial(kind):
    struct = kind()
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()
    if getattr(main, f"surprisal_{name}_init")(struct, sizeof(struct)) != 0:
        raise ImportError(f"surprisal: the library does not know this {name}")
    return bytes(struct)


def new(kind):
    """A struct with its initial values."""
    return kind.from_buffer_copy(_initial(kind))

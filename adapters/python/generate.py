#!/usr/bin/env python3
"""Writes src/surprisal/_abi.py: the structs, enums and functions of the C headers, as ctypes sees them.

    python3 adapters/python/generate.py           # writes the file
    python3 adapters/python/generate.py --check   # exits 1 if it is not what the headers say
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parent.parent / "include"
OUTPUT = HERE / "src" / "surprisal" / "_abi.py"

SCALARS = {
    "char": "c_char", "float": "c_float", "double": "c_double", "size_t": "c_size_t", "int32_t": "c_int32", "int64_t": "c_int64",
    "uint8_t": "c_uint8", "uint32_t": "c_uint32", "uint64_t": "c_uint64",
}
# Structs that come in arrays.
ENTRIES = {"surprisal_pair", "surprisal_stats", "surprisal_term"}
HEAD = '''"""The C interface, as ctypes sees it. Generated from the headers; do not edit: python3 adapters/python/generate.py

Arrays are addresses (c_void_p); what points to one struct is typed.
"""

from ctypes import CFUNCTYPE, POINTER, Structure, {names}
from enum import IntEnum
'''


def bare(path):
    """A header without comments, and without the lines of the preprocessor."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.S)
    return re.sub(r"^#.*$", "", text, flags=re.M)


def constants(path):
    """The macros that are numbers."""
    return dict(re.findall(r"^#define SURPRISAL_(\w+) \(?(-?\d+)\)?$", path.read_text(), flags=re.M))


def camel(name):
    return "".join(word.capitalize() for word in name.removeprefix("surprisal_").split("_"))


class Types:
    """What C's types are to ctypes, for the structs and enums seen so far."""

    def __init__(self):
        self.structs, self.enums, self.callbacks = [], [], []

    def of(self, text, opaque=False):
        """`opaque`: in callbacks, and where the struct is not complete yet, any pointer is an address."""
        pointers = text.count("*")
        name = re.sub(r"\b(const|struct|enum)\b|\*", " ", text).strip()
        if pointers == 0:
            if name in self.structs or name in self.callbacks:
                return camel(name)
            return "c_int32" if name in self.enums else SCALARS[name]
        if name == "char" and not opaque:
            return "c_char_p"
        one = name in self.structs and name not in ENTRIES and not opaque
        return f"POINTER({camel(name)})" if one else "c_void_p"

    def arguments(self, text, opaque=False):
        """The types of an argument list, whose arguments have names; those of function type are addresses."""
        text = re.sub(r"\w+ \(\*\w+\)\([^()]*\)", "void *callback", text)
        if text.strip() == "void":
            return []
        return [self.of(re.sub(r"\w+$", "", argument.strip()), opaque) for argument in text.split(",")]

    def callback(self, returns, arguments):
        result = "None" if returns == "void" else SCALARS[returns]
        return f"CFUNCTYPE({', '.join([result, *self.arguments(arguments, opaque=True)])})"


def enums(text, types):
    for name, body in re.findall(r"enum (surprisal_\w+)\s*(?::\s*int32_t\s*)?\{(.*?)\};", text, flags=re.S):
        types.enums.append(name)
        prefix = "SURPRISAL_ERROR_|SURPRISAL_" if name == "surprisal_status" else name.upper() + "_"
        yield f"\n\nclass {camel(name)}(IntEnum):"
        for entry, value in re.findall(r"(\w+) = (-?\d+)", body):
            yield f"    {re.sub(prefix, '', entry, count=1)} = {value}"


def structs(text, types, sizes):
    for name, body in re.findall(r"typedef struct (surprisal_\w+) \{(.*?)\} \1;", text, flags=re.S):
        yield f"\n\nclass {camel(name)}(Structure):\n    _fields_ = ["
        for field in re.sub(r"\s+", " ", body).strip(" ;").split("; "):
            yield f"        {member(field, types, sizes)},"
        yield "    ]"
        types.structs.append(name)


def member(field, types, sizes):
    if function := re.fullmatch(r"(\w+) \(\*(\w+)\)\((.*)\)", field):
        returns, name, arguments = function.groups()
        return f'("{name}", {types.callback(returns, arguments)})'
    kind, name, length = re.fullmatch(r"(.*?)(\w+)(?:\[(\w+)\])?", field).groups()
    count = f" * {sizes.get(length.removeprefix('SURPRISAL_'), length)}" if length else ""
    return f'("{name}", {types.of(kind)}{count})'


def functions(text, types, title):
    yield f"\n\n# What each function returns and takes.\n{title} = {{"
    for returns, name, arguments in re.findall(r"SURPRISAL_API\s+SURPRISAL_NODISCARD\s+([\w ]+?[ *]+)(surprisal_\w+)\(([^;]*)\);", text):
        taken = types.arguments(re.sub(r"\s+", " ", arguments))
        yield f'    "{name}": ({types.of(returns)}, [{", ".join(taken)}]),'
    yield "}"


def generated():
    main, tools = INCLUDE / "surprisal.h", INCLUDE / "surprisal_tools.h"
    types, sizes, lines = Types(), constants(main), []
    types.enums.append("surprisal_status")
    lines.append(f"\nABI_VERSION = {sizes['ABI_VERSION']}\nIGNORE_INDEX = {sizes['IGNORE_INDEX']}")
    lines += enums(bare(main), types)
    lines += structs(bare(main), types, sizes)
    for returns, name, arguments in re.findall(r"typedef (\w+) \(\*(surprisal_\w+)\)\((.*?)\);", bare(tools)):
        lines.append(f"\n\n{camel(name)} = {types.callback(returns, arguments)}")
        types.callbacks.append(name)
    lines += structs(bare(tools), types, sizes)
    lines += functions(bare(main), types, "FUNCTIONS")
    lines += functions(bare(tools), types, "TOOLS")
    body = "\n".join(lines) + "\n"
    return HEAD.format(names=", ".join(sorted(set(re.findall(r"\bc_\w+", body))))) + body


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if OUTPUT.exists() and OUTPUT.read_text() == generated() else f"{OUTPUT.name} is not what the headers say: run {Path(__file__).name}")
    OUTPUT.write_text(generated())

"""The ctypes layer is what the headers say, and a C compiler agrees."""

import ctypes
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import ROOT
from surprisal import _abi

GENERATOR = ROOT / "adapters" / "python" / "generate.py"


class Header(unittest.TestCase):
    def test_generated_file_has_not_drifted(self):
        subprocess.run([sys.executable, GENERATOR, "--check"], check=True)

    def test_layout_is_the_compilers(self):
        structs = {name: kind for name, kind in vars(_abi).items() if isinstance(kind, type) and issubclass(kind, ctypes.Structure) and kind is not
                   ctypes.Structure}
        self.assertEqual(len(structs), 19)
        expected, lines = [], []
        for name, kind in structs.items():
            c = "surprisal_" + "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
            expected.append(ctypes.sizeof(kind))
            lines.append(f"sizeof({c})")
            for field, *_ in kind._fields_:
                expected += [getattr(kind, field).offset, getattr(kind, field).size]
                lines += [f"offsetof({c}, {field})", f"sizeof((({c} *)0)->{field})"]
        with tempfile.TemporaryDirectory() as folder:
            source, program = Path(folder) / "layout.c", Path(folder) / "layout"
            prints = "".join(f'printf("%zu\\n", (size_t)({line}));\n' for line in lines)
            source.write_text(f'#include <stdio.h>\n#include "surprisal_tools.h"\nint main(void) {{\n{prints}return 0; }}\n')
            subprocess.run(["cc", "-I", ROOT / "include", source, "-o", program], check=True)
            actual = [int(line) for line in subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()]
        for line, mine, theirs in zip(lines, expected, actual, strict=True):
            self.assertEqual(mine, theirs, line)


if __name__ == "__main__":
    unittest.main()

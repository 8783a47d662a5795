"""Runs docs/embedding/python.md as written, in the current folder: its commands as one shell session, in which its Python is one program that prints what
the page says it prints. `surprisal` in this folder is the repository."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path("surprisal/docs/embedding/python.md")


def main():
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.S | re.M)
    commands, program, expected = ("".join(body for kind, body in blocks if kind == wanted) for wanted in ("sh", "python", "text"))
    assert commands and program and expected and {kind for kind, _ in blocks} == {"sh", "python", "text"}
    Path("page.py").write_text(program)
    run = subprocess.run(["sh", "-e", "-c", commands + "python page.py >printed\n"])
    printed = Path("printed").read_text()
    if run.returncode != 0 or printed != expected:
        sys.exit(f"python.md: exit status {run.returncode}, and it printed\n{printed}in place of\n{expected}")
    print(f"python.md: {len(blocks)} blocks")


main()

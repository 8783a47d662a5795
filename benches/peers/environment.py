"""The Python environment that the commands run in."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"


def enter_venv() -> None:
    """Goes on in an environment that has what `requirements.txt` names."""
    if Path(sys.prefix) == VENV:
        return
    requirements = HERE / "requirements.txt"
    stamp, wanted = VENV / "requirements.sha256", hashlib.sha256(requirements.read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"sets up {VENV} (several GB, once)", file=sys.stderr)
        venv.create(VENV, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
        subprocess.run(install, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])

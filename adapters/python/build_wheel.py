#!/usr/bin/env python3
"""Builds the wheel: the package and the C library, by cargo, a C compiler and nothing else.

    python3 adapters/python/build_wheel.py FOLDER     # writes surprisal-VERSION-py3-none-PLATFORM.whl into it

It is also the build backend (PEP 517) that `pip install` calls. SURPRISAL_LIBRARIES names a folder of libsurprisal.so and libsurprisal_tools.so that
are built already; SURPRISAL_WHEEL_PLATFORM another platform tag than this machine's, as manylinux_2_17_x86_64.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIBRARIES = ("surprisal", "surprisal_tools")


def version():
    return re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), flags=re.M)[1]


def tag():
    platform = os.environ.get("SURPRISAL_WHEEL_PLATFORM") or re.sub(r"[-.]", "_", sysconfig.get_platform())
    return f"py3-none-{platform}"


def build_libraries(folder):
    """Puts the shared libraries into `folder`: cargo's archive, cut to what each header declares."""
    if built := os.environ.get("SURPRISAL_LIBRARIES"):
        for name in LIBRARIES:
            shutil.copyfile(Path(built) / f"lib{name}.so", folder / f"lib{name}.so")
        return
    if not sys.platform.startswith(("linux", "freebsd")):
        raise SystemExit("surprisal: wheels are built on ELF systems only; elsewhere set SURPRISAL_LIBRARIES to a folder of built libraries")
    cargo = ["cargo", "rustc", "--quiet", "--locked", "--package", "surprisal-capi", "--lib", "--crate-type", "staticlib", "--no-default-features",
             "--profile", "capi"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    for name in LIBRARIES:
        subprocess.run(["sh", ROOT / "capi/cut.sh", target / "capi/libsurprisal_capi.a", ROOT / f"include/{name}.h", folder / f"{name}.a",
                        folder / f"lib{name}.so", f"lib{name}.so"], check=True)


def contents():
    """The wheel's files: (name, bytes)."""
    package = HERE / "src"
    for path in sorted(package.rglob("*.py")) + [package / "surprisal" / "py.typed"]:
        yield path.relative_to(package).as_posix(), path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        build_libraries(Path(folder))
        for name in LIBRARIES:
            yield f"surprisal/lib{name}.so", (Path(folder) / f"lib{name}.so").read_bytes()
    yield from metadata()


def metadata():
    info = f"surprisal-{version()}.dist-info"
    described = re.search(r'^description = "(.+)"$', (HERE / "pyproject.toml").read_text(), flags=re.M)[1]
    python = re.search(r'^requires-python = "(.+)"$', (HERE / "pyproject.toml").read_text(), flags=re.M)[1]
    licences = ("LICENSE-APACHE", "LICENSE-MIT")
    head = ["Metadata-Version: 2.4", "Name: surprisal", f"Version: {version()}", f"Summary: {described}", f"Requires-Python: {python}",
            "License-Expression: MIT OR Apache-2.0", *(f"License-File: {name}" for name in licences)]
    yield f"{info}/METADATA", ("\n".join(head) + "\n").encode()
    yield f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: surprisal\nRoot-Is-Purelib: false\nTag: {tag()}\n".encode()
    for name in licences:
        yield f"{info}/licenses/{name}", (ROOT / name).read_bytes()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 517: writes the wheel and returns its name."""
    name, record = f"surprisal-{version()}-{tag()}.whl", ""
    listed = f"surprisal-{version()}.dist-info/RECORD"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in contents():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
            write(wheel, path, data)
        write(wheel, listed, (record + f"{listed},,\n").encode())
    return name


def write(wheel, path, data):
    """With a date of its own, so that the same sources are the same wheel."""
    entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
    wheel.writestr(entry, data)


def build_sdist(sdist_directory, config_settings=None):
    """PEP 517 asks for it."""
    raise SystemExit("surprisal: the library's sources are the whole repository: build a wheel from a checkout")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    print(build_wheel(sys.argv[1]))

#!/bin/sh
# Builds the wheel, looks at it, installs it beside torch, and runs the tests and docs/embedding/python.md.
#
#     adapters/python/tests/check.sh PYTHON
#
# PYTHON has torch and numpy; nothing is installed into it, and nothing is fetched.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1

fail() {
    echo "python: FAILED: $*"
    exit 1
}

"$python" "$here/../build_wheel.py" "$work/wheel"
wheel=$(echo "$work"/wheel/*)
case $wheel in *-py3-none-*.whl) ;; *) fail "$wheel is of one Python only" ;; esac
[ "$(wc -c <"$wheel")" -lt 2000000 ] || fail "the wheel has $(wc -c <"$wheel") bytes"

# Without numpy and torch: it depends on nothing.
"$python" -m venv "$work/bare"
"$work/bare/bin/pip" install "$wheel"
"$work/bare/bin/python" - <<'END'
import surprisal
assert surprisal.objectives()[1] == "dft" and surprisal.simd_level
try:
    surprisal.forward([[0.0]], [0])
except ImportError as error:
    assert "pip install numpy" in str(error), error
else:
    raise AssertionError("arrays without numpy")
END

# environment FOLDER: one that sees the packages of PYTHON, before the setuptools of its own.
environment() {
    "$python" -m venv "$1"
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "import sys; sys.path.insert(0, '$packages')" >"$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch.pth"
}

environment "$work/env"
"$work/env/bin/pip" install "$wheel"
cd "$work"
"$work/env/bin/python" -W error::ResourceWarning -m unittest discover -s "$here"

# The page begins in an empty folder. Its environment is there already, with torch in it.
mkdir "$work/page" && cd "$work/page"
ln -s "$root" surprisal
environment env
PATH=$(dirname "$python"):$PATH "$python" surprisal/adapters/python/tests/page.py
echo "python: $(basename "$wheel"), $(wc -c <"$wheel") bytes"

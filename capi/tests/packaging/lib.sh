# What the packaging scripts share. They set `consumer`, the folder of this file, and call `work_in`.

root=$(CDPATH='' cd -- "$consumer/../../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
warnings="-Wall -Wextra -Wpedantic -Werror"

# What the README's program prints: mean of -stop(p) ln p over the two tokens, and its gradient, in float64.
expected="0.192041 -0.097123 0.060455 0.036668 0.001344 -0.025764 0.024420"

# work_in [FOLDER]: sets $work, the folder for all that is made; a temporary one that is removed, unless one is named.
work_in() {
    if [ $# -gt 0 ]; then
        mkdir -p "$1"
        work=$(CDPATH='' cd -- "$1" && pwd)
    else
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
    fi
}

say() { printf 'packaging: %s\n' "$*"; }
fail() {
    say "FAILED, $*"
    exit 1
}

# Runs a command; what it says is shown if it fails.
quiet() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log"
        fail "$*"
    }
}

# refused MESSAGE COMMAND...: the command fails and says so. Line breaks are CMake's.
refused() {
    message=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        fail "no error from $*"
    fi
    tr -s ' \n' ' ' <"$work/log" | grep -qF "$message" || {
        cat "$work/log"
        fail "not '$message': $*"
    }
    say "refused: $message"
}

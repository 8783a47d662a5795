# What the scripts of this folder share. They set `work`, the folder for all that they make.

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

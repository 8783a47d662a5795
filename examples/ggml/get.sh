#!/bin/sh
# Fetches ggml, checks it, and prints the folder of its CMakeLists.txt. GGML_DIR in the environment names another one.
#
# The source is a part of a crate (5.8 MB) that wraps llama.cpp: cargo, which is here anyway, is all that it takes. The crate is not compiled.
# `cargo info` is the one command that downloads a crate without its dependencies.
set -eu

crate=llama-cpp-sys-2 version=0.1.161 # ggml 0.26.0
sha256=e9bea77fde41bbc15a278891cd5edd2ba07c5260d162614b41080ba1f100b39b

fail() {
    echo "ggml: $*; set GGML_DIR to the folder of ggml's CMakeLists.txt to use another" >&2
    exit 1
}

if [ -n "${GGML_DIR:-}" ]; then
    echo "$GGML_DIR"
    exit
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/surprisal-ci/ggml
source=$cache/$crate-$version/llama.cpp/ggml
if [ ! -e "$cache/$sha256" ]; then
    mkdir -p "$cache"
    # From a folder that is no cargo project.
    (cd "$cache" && cargo info "$crate@$version" >log 2>&1) || { cat "$cache/log" >&2; fail "no $crate $version"; }
    archive=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$crate-$version.crate" | head -n 1)
    [ -n "$archive" ] || fail "cargo did not keep $crate-$version.crate"
    found=$(cmake -E sha256sum "$archive")
    [ "${found%% *}" = "$sha256" ] || fail "$archive is not what was pinned"
    (cd "$cache" && cmake -E tar xzf "$archive" "$crate-$version/llama.cpp/ggml")
    touch "$cache/$sha256"
fi
[ -e "$source/CMakeLists.txt" ] || fail "no $source"
echo "$source"

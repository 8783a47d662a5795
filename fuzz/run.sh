#!/bin/sh
# Runs every fuzz target for SECONDS with a fixed seed and a fresh corpus; stops at the first finding. Installs nothing. What follows
# SECONDS goes to libFuzzer: -runs=N makes a run that is the same every time.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 SECONDS [libFuzzer options]"
    exit 2
fi
seconds=$1
shift
cd "$(dirname -- "$0")"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz --locked"
    exit 1
fi
# cargo-fuzz needs -Z flags: this lets a stable compiler take them.
export RUSTC_BOOTSTRAP=1
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT

cargo fuzz build
export corpus seconds
# As many side by side as there are cores. Large inputs from the start: a short run would not grow to them. A stuck input is a finding, too.
# shellcheck disable=SC2016
printf '%s\n' row_stats logits_grad simd_levels bad_input linear | xargs -P "$(nproc)" -I '{}' sh -c '
    target=$1
    shift
    mkdir "$corpus/$target"
    if cargo fuzz run "$target" "$corpus/$target" -- -seed=1 -max_total_time="$seconds" \
        -rss_limit_mb=2048 -timeout=20 -len_control=0 "$@" >"$corpus/$target.log" 2>&1; then
        echo "fuzz: $target: $(grep "^Done" "$corpus/$target.log")"
    else
        # Without the progress lines.
        grep -vE "^#|NEW_FUNC" "$corpus/$target.log"
        echo "fuzz: FAILED, $target"
        # Starts no other.
        exit 255
    fi' fuzz '{}' "$@"

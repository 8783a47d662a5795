#!/bin/sh
# Proves that surprisal links without std, alloc and libc, and that it cannot panic: builds it into a freestanding program, runs that, and
# looks for undefined symbols and for those of panics. Then lets std, alloc, libc and a panic in, one by one, each of which must fail.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
mkdir -p "$target"
target=$(CDPATH='' cd -- "$target" && pwd)
log=$target/no_std.log

case $(uname -s)-$(uname -m) in
Linux-x86_64 | Linux-aarch64) ;;
*)
    echo "no_std: skipped, no freestanding entry point for $(uname -s) on $(uname -m)"
    exit 0
    ;;
esac

# build FEATURES: the library and the program, everything that is said into the log. Fails where the program can panic.
build() {
    cargo build --release --manifest-path "$here/Cargo.toml" --target-dir "$target" \
        --features "$1" >"$log" 2>&1 &&
        "${CC:-gcc}" -O2 -std=c11 -Wall -Wextra -Werror -ffreestanding -fno-builtin \
            -fno-stack-protector -fno-tree-loop-distribute-patterns -nostdlib -nostartfiles -static \
            -Wl,--gc-sections "$here/main.c" "$target/release/libsurprisal_no_std.a" \
            -o "$target/no_std" >>"$log" 2>&1 &&
        ! nm "$target/no_std" |
        grep -E 'panicking|panic_fmt|slice_index_fail|unwrap_failed|expect_failed' >>"$log"
}

for features in "" reference; do
    if ! build "$features"; then
        cat "$log"
        echo "no_std: FAILED to build with features '$features'"
        exit 1
    fi
    echo "no_std: linked with features '$features', $(wc -c <"$target/no_std") bytes"
    if [ -n "$(nm -u "$target/no_std")" ]; then
        nm -u "$target/no_std"
        echo "no_std: FAILED, undefined symbols"
        exit 1
    fi
    echo "no_std: no undefined symbol, no panic"
    status=0
    "$target/no_std" || status=$?
    if [ "$status" -ne 0 ]; then
        echo "no_std: FAILED, the program exits with $status (1: wrong loss, 101: panic)"
        exit 1
    fi
    echo "no_std: the program computes ln 8"
done

# control FEATURE TEXT: must fail, and for the reason that TEXT names.
control() {
    if build "$1"; then
        echo "no_std: FAILED, $1 was not noticed"
        exit 1
    fi
    if ! grep -q "$2" "$log"; then
        cat "$log"
        echo "no_std: FAILED, $1 fails for another reason than '$2'"
        exit 1
    fi
    echo "no_std: $1 is refused: $2"
}

control control-std 'duplicate lang item'
control control-alloc 'no global memory allocator'
control control-libc 'undefined reference'
control control-panic 'panic_bounds_check'

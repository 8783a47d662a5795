#!/bin/sh
# Runs the C programs under valgrind, ASan with UBSan, and TSan, and mistakes that each of them must see.
#
#     capi/tests/sanitize.sh [valgrind] [asan] [tsan]        (all of them without arguments)
#
# Needs cargo, gcc and valgrind, on Linux. Says what ran, and fails on any finding.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/sanitize
host=$(rustc -vV | sed -n 's/^host: //p')
runtimes=$(rustc --print sysroot)/lib/rustlib/$host/lib
programs="functions outputs parts errors objectives memory linear"
build="cargo rustc --quiet -p surprisal-capi --lib --crate-type staticlib --no-default-features --profile capi"
cd "$root"
mkdir -p "$work"

# Goes on after a failure, to tell of all of them.
failures=0
fail() {
    echo "sanitize: FAILED: $*"
    tail -n 40 "$work/log"
    failures=$((failures + 1))
}

# Builds the static library with a sanitizer: NAME RUSTFLAGS. The core library is neither instrumented nor trimmed by LTO here, and refers
# to the unwinder of a standard library that is not there: `compile` defines that symbol.
sanitized_library() {
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=$2 $build --config profile.capi.lto=false --config profile.capi.codegen-units=16 \
        --target "$host" --target-dir "$work/$1"
}

# Compiles a program: PROGRAM TOOL LIBRARY FLAGS...
compile() {
    name=$1 tool=$2 library=$3
    shift 3
    gcc -std=gnu11 -O1 -g -I include "capi/tests/c/$name.c" "$library" "$@" -pthread -lm -ldl -lrt -o "$work/$name-$tool"
}

# Runs a command that must succeed.
passes() {
    if "$@" >"$work/log" 2>&1; then
        echo "sanitize: passed: $*"
    else
        fail "$*"
    fi
}

# Runs a command that must fail with a text: TEXT COMMAND...
is_caught() {
    text=$1
    shift
    if ! "$@" >"$work/log" 2>&1 && grep -q "$text" "$work/log"; then
        echo "sanitize: caught, as it must be ($text): $*"
    else
        fail "not caught ($text): $*"
    fi
}

# Every N-th case of the vectors that the integration test wrote.
vectors() {
    all=$target/tmp/c/vectors.txt
    test -f "$all" || cargo test --quiet -p surprisal-capi --test c vectors >&2
    awk "/^case /{n++} n % $1 == 0" "$all" >"$work/vectors-$1.txt"
    echo "$work/vectors-$1.txt"
}

# The library as it is shipped.
run_valgrind() {
    $build --target-dir "$target"
    check="valgrind -q --error-exitcode=9 --leak-check=full"
    for name in control vectors $programs; do
        compile "$name" valgrind "$target/capi/libsurprisal_capi.a"
    done
    is_caught "uninitialised value" $check "$work/control-valgrind" uninitialised
    is_caught "Invalid read" $check "$work/control-valgrind" overread
    passes $check "$work/control-valgrind"
    for name in $programs; do
        passes $check "$work/$name-valgrind"
    done
    passes $check "$work/vectors-valgrind" "$(vectors 7)"
}

run_asan() {
    sanitized_library asan -Zsanitizer=address
    for name in control vectors threads $programs; do
        compile "$name" asan "$work/asan/$host/capi/libsurprisal_capi.a" -Wl,--defsym=rust_eh_personality=0 \
            -fsanitize=address,undefined -fno-sanitize-recover=all
    done
    is_caught "heap-buffer-overflow" "$work/control-asan" overread
    passes "$work/control-asan"
    for name in threads $programs; do
        passes "$work/$name-asan"
    done
    passes "$work/vectors-asan" "$(vectors 1)"
}

# The runtime is rustc's: that of gcc lacks functions that the library's instrumentation calls.
run_tsan() {
    sanitized_library tsan "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
    gcc -std=gnu11 -O1 -g -fsanitize=thread -I include -c capi/tests/c/threads.c -o "$work/threads.o"
    gcc "$work/threads.o" "$work/tsan/$host/capi/libsurprisal_capi.a" -Wl,--defsym=rust_eh_personality=0 \
        -Wl,--whole-archive "$runtimes/librustc-stable_rt.tsan.a" -Wl,--no-whole-archive -rdynamic -pthread -lm -ldl -lrt \
        -o "$work/threads-tsan"
    is_caught "data race" "$work/threads-tsan" race
    passes "$work/threads-tsan"
}

for tool in ${*:-valgrind asan tsan}; do
    "run_$tool"
done
echo "sanitize: ran ${*:-valgrind asan tsan}: $failures failures"
test "$failures" -eq 0

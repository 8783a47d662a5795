#!/bin/sh
# The binary interface of the shared libraries: each exports what its header declares, contains no panic, needs nothing but libc, and its
# functions and structs are those of its description in capi/abi, by libabigail (Debian: abigail-tools).
#
#     capi/tests/abi.sh
#     UPDATE_ABI=1 capi/tests/abi.sh   # writes the descriptions anew
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=${CARGO_TARGET_DIR:-$root/target}/abi
descriptions=$root/capi/abi

case $(uname -s)-$(uname -m) in
Linux-x86_64) ;;
*)
    echo "abi: skipped, the description is that of Linux on x86-64"
    exit 0
    ;;
esac

failed=0
# check WHAT PROBLEMS: PROBLEMS is empty.
check() {
    if [ -z "$2" ]; then
        echo "abi: $1"
    else
        printf 'abi: FAILED, not so: %s\n%s\n' "$1" "$2"
        failed=1
    fi
}

# equal WHAT ACTUAL WANTED
equal() { check "$1" "$([ "$2" = "$3" ] || echo "'$2', not '$3'")"; }

# The library as users build it, but with debug information, which changes no code. Only of the crate that defines the interface, so that
# libabigail sees no types of the others.
cmake -S "$root" -B "$build" -DSURPRISAL_CARGO_FLAGS="--config;profile.capi.package.surprisal-capi.debug=2" >/dev/null
KEEP_SYMBOLS=1 cmake --build "$build"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
mkdir -p "$descriptions"

for name in surprisal surprisal_tools; do
    echo "abi: lib$name"
    library=$build/lib$name.so abi=$build/$name.abi

    # Declarations without comments and macros, one a line, from SURPRISAL_API on; a function's name stands before the first parenthesis.
    sed -e 's|//.*||' -e '/^#/d' "$root/include/$name.h" | tr '\n;' ' \n' |
        sed -n 's/.*SURPRISAL_API \([^(]*[ *]\)\(surprisal_[a-z0-9_]*\)(.*/\2/p' | sort >"$build/declared"
    nm -D --defined-only "$library" | awk '{print $3}' | sort >"$build/exported"
    check "it exports the $(wc -l <"$build/declared") functions that the header declares, and nothing else" \
        "$(diff "$build/declared" "$build/exported" || true)"

    nm "$library" >"$build/symbols"
    grep -q surprisal_capi "$build/symbols" || check "it has its symbols" "no internal symbol found"
    check "no code that panics" \
        "$(grep -E 'panicking|panic_fmt|slice_index_fail|unwrap_failed|expect_failed|rust_begin_unwind' "$build/symbols" || true)"

    readelf -d "$library" >"$build/dynamic"
    check "needs nothing but libc" "$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$build/dynamic" | grep -v '^libc\.' || true)"
    equal "the soname has the minor version" "$(sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p' "$build/dynamic")" "lib$name.so.${version%.*}"

    # Without units of code that define nothing, and without the paths of units, which are the machine's and the compiler's.
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-parameter-names --type-id-style hash \
        "$library" | sed -e '/<abi-instr/{N;/<\/abi-instr>/d;}' -e "s| path='[^']*'| path='surprisal'|" >"$abi"
    check "the description has no path of this machine" "$(grep -n "='/" "$abi" || true)"
    # Option and its variants: of a callback that may be NULL.
    check "the description has no type but the interface's" "$(grep -oE "<(class|enum|union)-decl name='[^']*'" "$abi" |
        grep -vE "'(surprisal_[a-z0-9_]*|c_void|Option&lt;unsafe extern [^']*|Some|None)'" || true)"

    # The compiler makes one function with two names of functions that do the same.
    grep -oE "(<function-decl name|alias)='[^']*'" "$abi" | sed "s/.*='\(.*\)'/\1/" | tr ',' '\n' | sort -u >"$build/described"
    check "the description has every function" "$(diff "$build/declared" "$build/described" || true)"

    if [ -n "${UPDATE_ABI:-}" ]; then
        cp "$abi" "$descriptions/$name.abi"
    fi
    check "nothing differs from capi/abi/$name.abi (if it should: UPDATE_ABI=1 capi/tests/abi.sh)" \
        "$(abidiff --harmless "$descriptions/$name.abi" "$abi" 2>&1 || echo "abidiff: exit status $?")"
done

# abidiff is content with a description that it cannot read, so it has to find a mistake.
sed -e "s/'loss_sum'/'swapped'/" -e "s/'nll_sum'/'loss_sum'/" -e "s/'swapped'/'nll_sum'/" "$build/surprisal.abi" >"$build/swapped.abi"
equal "abidiff notices two fields that were swapped" \
    "$(abidiff "$build/surprisal.abi" "$build/swapped.abi" | grep -c "_sum' offset changed")" 2
exit "$failed"

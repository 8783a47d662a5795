#!/bin/sh
# Uses the library of surprisal_gpu.h as other people's projects do: by add_subdirectory, find_package and pkg-config. Needs the crates of wgpu, and a
# device, on which the header's example must print PyTorch's numbers; without one it is linked and not run, unless SURPRISAL_REQUIRE_GPU=1.
#
#     capi/tests/packaging_gpu.sh [WORK_DIR]
#
# Everything is made in WORK_DIR and stays there; without it, in a temporary folder that is removed.
set -eu

consumer=$(CDPATH='' cd -- "$(dirname -- "$0")/packaging" && pwd)
. "$consumer/lib.sh"
work_in "$@"

# Without optimisation wgpu takes a third of the time to build.
CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_CAPI_OPT_LEVEL=3
export CARGO_PROFILE_RELEASE_OPT_LEVEL CARGO_PROFILE_CAPI_OPT_LEVEL

# numbers WHAT PROGRAM: the program prints the expected numbers, or finds no device where none is required.
numbers() {
    code=0
    printed=$("$2") || code=$?
    if [ "$code" = 77 ] && [ "${SURPRISAL_REQUIRE_GPU:-}" != 1 ]; then
        say "$1: not run, there is no device (SURPRISAL_REQUIRE_GPU=1 would fail)"
        return 0
    fi
    [ "$code" = 0 ] || fail "$1: $2 exits with $code"
    printed=$(printf '%s' "$printed" | tr '\n' ' ')
    [ "$printed" = "$expected" ] || fail "$1: '$printed' is not '$expected'"
    say "$1: $(basename "$2") prints PyTorch's numbers"
}

# consume NAME ARGUMENTS...: a consumer in $work/NAME; its three programs.
consume() {
    name=$1
    shift
    rm -rf "${work:?}/$name"
    quiet cmake -S "$consumer" -B "$work/$name" -G Ninja -DLINK=surprisal::gpu -DCOMPONENTS=gpu -DSURPRISAL_CARGO_TARGET_DIR="$work/cargo" "$@"
    quiet cmake --build "$work/$name"
    for program in gpu consumer_c consumer_cpp; do
        numbers "$name" "$work/$name/$program"
    done
}

say "add_subdirectory"
consume subdirectory -DHOW=add_subdirectory -DSOURCE="$root" -DSURPRISAL_GPU=ON
[ -z "$(find "$work/subdirectory" -name '*.a')" ] || fail "builds libraries that nothing uses"

say "cmake --install"
prefix="$work/installed"
rm -rf "$prefix" "$work/install" "$work/first"
quiet cmake -S "$root" -B "$work/install" -G Ninja -DSURPRISAL_GPU=ON -DSURPRISAL_CARGO_TARGET_DIR="$work/cargo"
quiet cmake --build "$work/install"
quiet cmake --install "$work/install" --prefix "$work/first"
# Where it was installed to is not where it is used.
mv "$work/first" "$prefix"
cmp "$root/include/surprisal_gpu.h" "$prefix/include/surprisal_gpu.h" || fail "surprisal_gpu.h is not installed"

consume find_package -DHOW=find_package -DCMAKE_PREFIX_PATH="$prefix"

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name surprisal_gpu.pc)")
libdir=$(dirname "$PKG_CONFIG_PATH")
LD_LIBRARY_PATH=$libdir DYLD_LIBRARY_PATH=$libdir
export PKG_CONFIG_PATH LD_LIBRARY_PATH DYLD_LIBRARY_PATH
[ "$(pkg-config --modversion surprisal_gpu)" = "$version" ] || fail "surprisal_gpu.pc is not of version $version"
# shellcheck disable=SC2046,SC2086 # lists
cc -std=c99 $warnings "$consumer/gpu.c" $(pkg-config --cflags --libs surprisal_gpu) -o "$work/pkg-config"
numbers "pkg-config" "$work/pkg-config"

if [ "$(uname -s)" = Linux ]; then
    library=$libdir/libsurprisal_gpu.so.$version
    readelf -d "$work/pkg-config" | grep -q "NEEDED.*libsurprisal_gpu\.so\.${version%.*}\]" || fail "the soname lacks the minor version"
    for header in surprisal surprisal_tools surprisal_gpu; do
        sed -e 's|//.*||' -e '/^#/d' "$prefix/include/$header.h" | tr '\n;' ' \n' |
            sed -n 's/.*SURPRISAL_API \([^(]*[ *]\)\(surprisal_[a-z0-9_]*\)(.*/\2/p'
    done | LC_ALL=C sort >"$work/declared"
    nm -D --defined-only "$library" | awk '{print $3}' | LC_ALL=C sort >"$work/exported"
    diff "$work/declared" "$work/exported" || fail "exports (>) are not what the headers declare (<)"
    say "it exports the $(wc -l <"$work/declared" | xargs) functions of the headers, and nothing else"
fi

rm -rf "$work/refused"
refused "surprisal has no component gpu here" cmake -S "$consumer" -B "$work/refused" -DHOW=add_subdirectory -DSOURCE="$root" -DCOMPONENTS=gpu
say "done"

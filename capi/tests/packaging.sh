#!/bin/sh
# Uses surprisal as other people's C and C++ projects do: by add_subdirectory, FetchContent, find_package and pkg-config, static and
# shared, from Make and Ninja, from source and prebuilt. Every consumer is the README's program, in C and in C++; what it prints must be
# PyTorch's numbers. Everything is built from the source tarball, with no network and no crate but those in it.
#
#     capi/tests/packaging.sh [WORK_DIR]
#
# Everything is made in WORK_DIR and stays there; without it, in a temporary folder that is removed. With SURPRISAL_TORCH_PYTHON, a Python
# that has torch, the expected numbers are computed anew.
set -eu

consumer=$(CDPATH='' cd -- "$(dirname -- "$0")/packaging" && pwd)
. "$consumer/lib.sh"
work_in "$@"
minor=${version%.*}

# numbers WHAT PROGRAM: the program prints the expected numbers.
numbers() {
    printed=$("$2") || fail "$1: $2 exits with an error"
    printed=$(printf '%s' "$printed" | tr '\n' ' ')
    [ "$printed" = "$expected" ] || fail "$1: '$printed' is not '$expected'"
    say "$1: $(basename "$2") prints PyTorch's numbers"
}

# configure NAME GENERATOR ARGUMENTS...: a consumer in $work/NAME.
configure() {
    name=$1 generator=$2
    shift 2
    rm -rf "${work:?}/$name"
    quiet cmake -S "$consumer" -B "$work/$name" -G "$generator" -DSURPRISAL_CARGO_TARGET_DIR="$cargo_dir" "$@"
}

# build NAME [FOLDER CMAKE_ARGUMENTS...]: builds and runs it. FOLDER is where in it the programs are.
build() {
    name=$1 folder=${2:-.}
    shift
    [ $# -eq 0 ] || shift
    quiet cmake --build "$work/$name" "$@"
    numbers "$name${2:+ $2}" "$work/$name/$folder/consumer_c"
    numbers "$name${2:+ $2}" "$work/$name/$folder/consumer_cpp"
    quiet "$work/$name/$folder/tools"
    libm "$name" "$work/$name/$folder/libm"
}

# libm WHAT PROGRAM: the program has the right results from libm's functions, and they are libm's.
libm() {
    printed=$("$2") || fail "$1: $2 exits with an error"
    [ "$printed" = "1.5 17 2 1.5 17 2 7.5 8" ] || fail "$1: libm's functions give $printed"
    [ "$(uname -s)" = Linux ] || return 0
    nm -D --undefined-only "$2" | sed 's/.* \([a-z]*\).*/\1/' >"$work/undefined"
    for function in fmod fma cbrt fmodf fmaf sqrt fmax round; do
        grep -qx "$function" "$work/undefined" || fail "$1: $function is not libm's"
    done
}

# kind_of PROGRAM KIND: it uses the shared library, or does not.
kind_of() {
    [ "$(uname -s)" = Linux ] || return 0
    found=static
    if readelf -d "$1" | grep -q "NEEDED.*libsurprisal\.so\.$minor\]"; then found=shared; fi
    [ "$found" = "$2" ] || fail "$1 uses the $found library"
}

# linked NAME: the programs that the next `cmake --build` links.
linked() {
    touch "$work/before"
    sleep 1
    quiet cmake --build "$work/$1"
    find "$work/$1" -name 'consumer_c*' -type f -perm -100 -newer "$work/before" | wc -l | xargs
}

# The first C program of the README is the consumer.
awk '/^```c$/ { program = 1; next } /^```$/ { if (program) exit } program' "$root/README.md" |
    cmp - "$consumer/consumer.c" || fail "the README's program is not consumer.c"

if [ -n "${SURPRISAL_TORCH_PYTHON:-}" ]; then
    computed=$("$SURPRISAL_TORCH_PYTHON" -c '
import torch
z = torch.tensor([[2, 0.5, 0], [0.1, 0.2, 3]], dtype=torch.float64, requires_grad=True)
log_p = torch.log_softmax(z, -1)[torch.arange(2), torch.tensor([0, 1])]
loss = (-log_p.exp().detach() * log_p).mean()
loss.backward()
print(*(f"{x:.6f}" for x in [loss.item(), *z.grad.flatten().tolist()]))')
    [ "$computed" = "$expected" ] || fail "PyTorch computes '$computed', not '$expected'"
    say "PyTorch computes the expected numbers"
fi

quiet "$consumer/toolchains.sh" "$work"
say "toolchains: $(grep -c . "$work/log") combinations of systems, compilers and cargo"

# The source tarball in a path with spaces, and nothing else to build from. Its files are new, so that cargo sees every change; its builds
# share cargo's folder.
copy="$work/a copy"
cargo_dir="$work/cargo"
rm -rf "$copy" "$work/sources"
mkdir -p "$copy" "$work/no crates"
quiet "$root/capi/source_tarball.sh" "$work/sources"
tar -xzmf "$work/sources/surprisal-$version.tar.gz" -C "$copy" --strip-components=1
CARGO_HOME="$work/no crates" CARGO_NET_OFFLINE=true
export CARGO_HOME CARGO_NET_OFFLINE

say "add_subdirectory that nothing uses"
configure unused Ninja -DHOW=add_subdirectory -DSOURCE="$copy" -DNOTHING=ON
quiet cmake --build "$work/unused"
[ -z "$(find "$work/unused" -name '*.a')" ] || fail "builds what nothing uses"

say "add_subdirectory, Make, static"
configure subdirectory "Unix Makefiles" -DHOW=add_subdirectory -DSOURCE="$copy" -DCOMPONENTS="static;shared;tools"
build subdirectory
kind_of "$work/subdirectory/consumer_c" static

say "FetchContent, Ninja, shared"
configure "fetch content" Ninja -DHOW=fetch_content -DFETCHCONTENT_SOURCE_DIR_SURPRISAL="$copy" -DBUILD_SHARED_LIBS=ON
build "fetch content"
kind_of "$work/fetch content/consumer_c" shared

# What the first configuration left behind does not count as installed.
say "find_package, else add_subdirectory, twice, Ninja, static"
configure "find or add" Ninja -DHOW=find_or_add -DSOURCE="$copy"
quiet cmake "$work/find or add"
build "find or add"

# The C compiler's flags are not for what is cut.
say "FetchContent, Ninja Multi-Config, static, instrumented"
configure multi "Ninja Multi-Config" -DHOW=fetch_content -DFETCHCONTENT_SOURCE_DIR_SURPRISAL="$copy" -DCMAKE_C_FLAGS=--coverage
build multi Debug --config Debug
build multi Release --config Release

say "cmake --install, both kinds in one prefix"
prefix="$work/installed"
rm -rf "$prefix" "$work/install" "$work/first"
quiet cmake -S "$copy" -B "$work/install" -G Ninja -DSURPRISAL_CARGO_TARGET_DIR="$cargo_dir"
quiet cmake --build "$work/install" --target all package
quiet cmake --install "$work/install" --prefix "$work/first"
# Where it was installed to is not where it is used.
mv "$work/first" "$prefix"
for header in surprisal.h surprisal.hpp surprisal_tools.h; do
    cmp "$copy/include/$header" "$prefix/include/$header" || fail "$header is not installed"
done
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name surprisal.pc)")
export PKG_CONFIG_PATH
libdir=$(dirname "$PKG_CONFIG_PATH")

quiet python3 "$root/capi/tests/whole_api.py" "$libdir/libsurprisal.so" "$libdir/libsurprisal_tools.so"
say "$(cat "$work/log") through ctypes"

# found NAME GENERATOR KIND ARGUMENTS...: a consumer by find_package, which gets the library of that kind.
found() {
    name=$1 generator=$2 kind=$3
    shift 3
    configure "$name" "$generator" -DHOW=find_package -DVERSION="$minor" -DCMAKE_PREFIX_PATH="$prefix" "$@"
    build "$name"
    kind_of "$work/$name/consumer_c" "$kind"
}
found "find_package" Ninja static
found "find_package, BUILD_SHARED_LIBS" "Unix Makefiles" shared -DBUILD_SHARED_LIBS=ON
found "find_package, component shared" Ninja shared -DCOMPONENTS="shared;tools"
found "find_package, component static" Ninja static -DCOMPONENTS=static -DBUILD_SHARED_LIBS=ON
found "find_package, surprisal::shared" Ninja shared -DLINK=surprisal::shared

# by_pkg_config KIND PACKAGE: the consumers by pkg-config.
by_pkg_config() {
    kind=$1 package=$2
    [ "$(pkg-config --modversion "$package")" = "$version" ] || fail "$package.pc is not of version $version"
    # pkg-config writes spaces as a shell reads them.
    eval "set -- $(pkg-config --cflags --libs "$package")"
    cc -std=c11 $warnings "$consumer/consumer.c" -o "$work/pkg-config-$kind-c" "$@"
    c++ -std=c++17 $warnings "$consumer/consumer.cpp" -o "$work/pkg-config-$kind-c++" "$@"
    cc -fno-builtin "$consumer/libm.c" -o "$work/pkg-config-$kind-libm" "$@" -lm
    c++ -fno-builtin -x c++ "$consumer/libm.c" -x none -o "$work/pkg-config-$kind-libm++" "$@" -lm
    eval "set -- $(pkg-config --cflags --libs "$(echo "$package" | sed s/surprisal/surprisal_tools/)")"
    cc -std=c11 $warnings "$consumer/tools.c" -o "$work/pkg-config-$kind-tools" "$@"
    (
        if [ "$kind" = shared ]; then
            export LD_LIBRARY_PATH="$libdir" DYLD_LIBRARY_PATH="$libdir"
        fi
        numbers "pkg-config $kind" "$work/pkg-config-$kind-c"
        numbers "pkg-config $kind" "$work/pkg-config-$kind-c++"
        libm "pkg-config $kind" "$work/pkg-config-$kind-libm"
        libm "pkg-config $kind" "$work/pkg-config-$kind-libm++"
        quiet "$work/pkg-config-$kind-tools"
    )
    kind_of "$work/pkg-config-$kind-c" "$kind"
}
[ "$(pkg-config --static --libs-only-l surprisal | xargs)" = -lsurprisal ] || fail "surprisal.pc wants more than -lsurprisal"
by_pkg_config shared surprisal
by_pkg_config static surprisal-static

other="${minor%.*}.$((${minor#*.} + 1))"
rm -rf "$work/refused" "$work/refused prebuilt"
refused "surprisalConfig.cmake, version: $version" cmake -S "$consumer" -B "$work/refused" -DHOW=find_package -DVERSION="$other" \
    -DCMAKE_PREFIX_PATH="$prefix"

say "the package, prebuilt"
rm -rf "$work/prebuilt"
mkdir "$work/prebuilt"
tar -xzf "$work/install/surprisal-$version-"*.tar.gz -C "$work/prebuilt" --strip-components=1
prebuilt() { configure "$1" Ninja -DHOW=add_subdirectory -DSOURCE="$copy" -DSURPRISAL_CARGO=no-cargo -DSURPRISAL_PREBUILT="$work/prebuilt"; }
prebuilt "prebuilt by add_subdirectory"
build "prebuilt by add_subdirectory"
find "$work/prebuilt" -name 'libsurprisal.so*' -exec rm {} +
rm -rf "$work/refused" "$work/refused prebuilt"
refused "surprisal has no component shared here" cmake -S "$consumer" -B "$work/refused" -DHOW=find_package -DCOMPONENTS=shared \
    -DCMAKE_PREFIX_PATH="$work/prebuilt"
refused "is not a folder of surprisal $version" cmake -S "$copy" -B "$work/refused prebuilt" -DSURPRISAL_PREBUILT="$work"

# Two Rust libraries in one program: neither may define what the other one has, and the other's panics must still unwind.
archive=$libdir/libsurprisal.a
cat >"$work/other.rs" <<'END'
#[unsafe(no_mangle)]
pub extern "C" fn other() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    std::panic::catch_unwind(|| panic!("{}", String::from("caught"))).is_err().into()
}
END
cat >"$work/both.c" <<'END'
int consumer(void);
int other(void);
int main(void) { return consumer() == 0 && other() == 1 ? 0 : 1; }
END
needs=$(rustc --edition 2024 -O --crate-type staticlib -o "$work/libother.a" --print native-static-libs "$work/other.rs" 2>&1 |
    sed -n 's/.*native-static-libs: //p')
[ -n "$needs" ] || fail "no std library to link with"
cc -Dmain=consumer -I"$prefix/include" -c "$consumer/consumer.c" -o "$work/consumer.o"
# shellcheck disable=SC2086 # $needs is a list
cc "$work/both.c" "$work/consumer.o" "$archive" "$work/libother.a" $needs -o "$work/both"
numbers "two Rust libraries" "$work/both"
# shellcheck disable=SC2086
cc "$work/both.c" "$work/consumer.o" "$work/libother.a" "$archive" $needs -o "$work/both"
numbers "two Rust libraries, in the other order" "$work/both"

for name in subdirectory "fetch content"; do
    count=$(linked "$name")
    [ "$count" = 0 ] || fail "$name: links $count programs though nothing has changed"
done
say "a build without a change links nothing"
cat >>"$copy/capi/src/lib.rs" <<'END'

#[unsafe(no_mangle)]
pub extern "C" fn surprisal_changed() {}
END
for name in subdirectory "fetch content"; do
    count=$(linked "$name")
    [ "$count" = 2 ] || fail "$name: links $count of its 2 programs again after a change of the library"
done
say "a change of a Rust source links the programs again"

# at_most WHAT BYTES FILE
at_most() {
    size=$(wc -c <"$3" | xargs)
    say "$1: $size bytes"
    [ "$size" -le "$2" ] || fail "$1 has more than $2 bytes"
}
if [ "$(uname -sm)" = "Linux x86_64" ]; then
    cc -O2 -Wl,--gc-sections -s -I"$prefix/include" "$consumer/consumer.c" "$archive" -o "$work/small"
    at_most "static library" 2200000 "$archive"
    at_most "shared library" 1650000 "$libdir/libsurprisal.so.$version"
    at_most "static tools" 350000 "$libdir/libsurprisal_tools.a"
    at_most "shared tools" 200000 "$libdir/libsurprisal_tools.so.$version"
    at_most "the program with the static library" 1300000 "$work/small"
fi
say "done"

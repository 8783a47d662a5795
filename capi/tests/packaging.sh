#!/bin/sh
# Uses surprisal as other people's C and C++ projects do: by add_subdirectory, FetchContent, find_package and pkg-config, static and
# shared, from Make and Ninja. Every consumer is the README's program, in C and in C++; what it prints must be PyTorch's numbers.
#
#     capi/tests/packaging.sh [WORK_DIR]
#
# Everything is made in WORK_DIR and stays there; without it, in a temporary folder that is removed. With SURPRISAL_TORCH_PYTHON, a Python
# that has torch, the expected numbers are computed anew.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
if [ $# -gt 0 ]; then
    mkdir -p "$1"
    work=$(CDPATH='' cd -- "$1" && pwd)
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
consumer=$root/capi/tests/packaging
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
minor=${version%.*}
warnings="-Wall -Wextra -Wpedantic -Werror"

# Mean of -stop(p) ln p over the two tokens, and its gradient, in float64.
expected="0.192041 -0.097123 0.060455 0.036668 0.001344 -0.025764 0.024420"

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

# A copy in a path with spaces. Its files are new, so that cargo sees every change; its builds share cargo's folder.
copy="$work/a copy"
cargo_dir="$work/cargo"
rm -rf "$copy"
mkdir "$copy"
(cd "$root" && tar -cf - --exclude=target --exclude=benches/peers CMakeLists.txt Cargo.toml Cargo.lock LICENSE-APACHE LICENSE-MIT \
    README.md benches cmake core capi gpu include tests examples) | (cd "$copy" && tar -xmf -)

say "add_subdirectory, Make, static"
configure subdirectory "Unix Makefiles" -DHOW=add_subdirectory -DSOURCE="$copy"
build subdirectory

say "FetchContent, Ninja, shared"
configure "fetch content" Ninja -DHOW=fetch_content -DFETCHCONTENT_SOURCE_DIR_SURPRISAL="$copy" -DBUILD_SHARED_LIBS=ON
build "fetch content"

say "FetchContent, Ninja Multi-Config, static"
configure multi "Ninja Multi-Config" -DHOW=fetch_content -DFETCHCONTENT_SOURCE_DIR_SURPRISAL="$copy"
build multi Debug --config Debug
build multi Release --config Release

# install_and_use KIND GENERATOR SHARED: installs the library, then a consumer of it by find_package, and one by pkg-config.
install_and_use() {
    kind=$1 generator=$2 shared=$3 prefix="$work/installed $1"
    rm -rf "$prefix" "$work/install-$kind" "$work/first"
    quiet cmake -S "$copy" -B "$work/install-$kind" -G "$generator" -DBUILD_SHARED_LIBS="$shared" \
        -DSURPRISAL_CARGO_TARGET_DIR="$cargo_dir"
    quiet cmake --build "$work/install-$kind"
    quiet cmake --install "$work/install-$kind" --prefix "$work/first"
    # Where it was installed to is not where it is used.
    mv "$work/first" "$prefix"
    for header in surprisal.h surprisal.hpp; do
        cmp "$copy/include/$header" "$prefix/include/$header" || fail "$header is not installed"
    done

    name="find_package $kind"
    configure "$name" "$generator" -DHOW=find_package -DVERSION="$minor" -DCMAKE_PREFIX_PATH="$prefix"
    build "$name"

    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name surprisal.pc)")
    export PKG_CONFIG_PATH
    [ "$(pkg-config --modversion surprisal)" = "$version" ] || fail "surprisal.pc is not of version $version"
    [ "$(pkg-config --static --libs-only-l surprisal | xargs)" = -lsurprisal ] || fail "surprisal.pc wants more than -lsurprisal"
    option=
    [ "$shared" = ON ] || option=--static
    # pkg-config writes spaces as a shell reads them.
    eval "cc -std=c11 $warnings '$consumer/consumer.c' -o '$work/pkg-config-$kind-c' $(pkg-config $option --cflags --libs surprisal)"
    eval "c++ -std=c++17 $warnings '$consumer/consumer.cpp' -o '$work/pkg-config-$kind-c++' $(pkg-config $option --cflags --libs surprisal)"
    libdir=$(dirname "$PKG_CONFIG_PATH")
    (
        if [ "$shared" = ON ]; then
            export LD_LIBRARY_PATH="$libdir" DYLD_LIBRARY_PATH="$libdir"
        fi
        numbers "pkg-config $kind" "$work/pkg-config-$kind-c"
        numbers "pkg-config $kind" "$work/pkg-config-$kind-c++"
    )
}

say "cmake --install, then find_package and pkg-config, Ninja, static"
install_and_use static Ninja OFF
say "cmake --install, then find_package and pkg-config, Make, shared"
install_and_use shared "Unix Makefiles" ON

other="${minor%.*}.$((${minor#*.} + 1))"
rm -rf "$work/refused"
if cmake -S "$consumer" -B "$work/refused" -DHOW=find_package -DVERSION="$other" -DCMAKE_PREFIX_PATH="$work/installed static" \
    >"$work/log" 2>&1 || ! grep -q "surprisalConfig.cmake, version: $version" "$work/log"; then
    fail "find_package(surprisal $other) accepts $version"
fi
say "find_package(surprisal $other) refuses $version"

# Two Rust libraries in one program: neither may define what the other one has, and the other's panics must still unwind.
static="$work/installed static"
archive=$(find "$static" -name libsurprisal.a)
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
cc -Dmain=consumer -I"$static/include" -c "$consumer/consumer.c" -o "$work/consumer.o"
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

if [ "$(uname -s)" = Linux ]; then
    shared=$(find "$work/installed shared" -name "libsurprisal.so.$version")
    strip -o "$work/stripped" "$shared"
    cc -O2 -Wl,--gc-sections -s -I"$static/include" "$consumer/consumer.c" "$archive" -o "$work/small"
    say "bytes: static library $(wc -c <"$archive"), shared $(wc -c <"$shared"), stripped $(wc -c <"$work/stripped")," \
        "the program with the static library $(wc -c <"$work/small")"
fi
say "done"

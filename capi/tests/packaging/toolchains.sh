#!/bin/sh
# What cargo is told to compile for: CMake is configured for other systems, with compilers in name only, and a cargo that writes down its
# arguments. Nothing is compiled.
#
#     capi/tests/packaging/toolchains.sh WORK_DIR
set -eu

consumer=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$consumer/lib.sh"
work_in "${1:?}/toolchains"

host=x86_64-unknown-linux-gnu
cat >"${work:?}/cargo" <<END
#!/bin/sh
if [ "\$1" = -vV ]; then
    printf 'cargo\nrelease: %s\nhost: $host\n' "\${FAKE_RELEASE:-99.0.0}"
    exit
fi
{
    printf '%s ' "\$@"
    env | grep '^CARGO_TARGET_.*_LINKER=' || true
} >"$work/record"
while [ \$# -gt 0 ]; do
    case \$1 in
    --target) target=\$2 ;;
    --target-dir) dir=\$2 ;;
    esac
    shift
done
mkdir -p "\$dir/\$target/capi"
for library in libsurprisal_capi.a libsurprisal_capi.dylib; do
    echo "\$target" >"\$dir/\$target/capi/\$library"
done
END
chmod +x "$work/cargo"

# compiler NAME: the machine's own compiler as NAME-gcc, which says that it compiles for NAME and takes no notice of Apple's options.
compiler() {
    cat >"${work:?}/$1-gcc" <<END
#!/bin/sh
[ "\$1" != -dumpmachine ] || { echo "$1"; exit; }
for argument; do
    shift
    case \$argument in -arch | arm64 | x86_64 | -mmacosx-version-min=*) ;; *) set -- "\$@" "\$argument" ;; esac
done
exec cc "\$@"
END
    chmod +x "$work/$1-gcc"
}

configure() {
    rm -rf "${work:?}/build"
    cmake -S "$root" -B "$work/build" -G Ninja -DSURPRISAL_CARGO="$work/cargo" "$@"
}

# cross MACHINE SYSTEM PROCESSOR ARGUMENTS...: configures with the compiler of another machine.
cross() {
    machine=$1 system=$2 processor=$3
    shift 3
    compiler "$machine"
    configure -DCMAKE_SYSTEM_NAME="$system" -DCMAKE_SYSTEM_PROCESSOR="$processor" -DCMAKE_C_COMPILER="$work/$machine-gcc" \
        -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY -DCMAKE_RC_COMPILER=true -DCMAKE_INSTALL_NAME_TOOL=true "$@"
}

# builds_for TRIPLE LINKER CONFIGURE...: cargo compiles for TRIPLE, and is told the linker LINKER-gcc, or none.
builds_for() {
    triple=$1 linker=$2
    shift 2
    quiet "$@"
    cp "$work/log" "$work/configured"
    quiet cmake --build "$work/build" --target surprisal-cargo
    grep -qF -- " --target $triple " "$work/record" || fail "not for $triple: $(cat "$work/record")"
    told=$(grep -o 'CARGO_TARGET_.*_LINKER=.*' "$work/record" || true)
    expected=
    [ -z "$linker" ] || expected=CARGO_TARGET_$(printf %s "$triple" | tr 'a-z-' 'A-Z_')_LINKER=$work/$linker-gcc
    [ "$told" = "$expected" ] || fail "$triple: the linker is '$told', not '$expected'"
    say "cargo compiles for $triple"
}

builds_for "$host" '' configure
builds_for aarch64-unknown-linux-gnu aarch64-linux-gnu cross aarch64-linux-gnu Linux aarch64
builds_for aarch64-unknown-linux-musl aarch64-linux-musl cross aarch64-linux-musl Linux aarch64
builds_for armv7-unknown-linux-gnueabihf arm-linux-gnueabihf cross arm-linux-gnueabihf Linux armv7l
builds_for riscv64gc-unknown-linux-gnu riscv64-linux-gnu cross riscv64-linux-gnu Linux riscv64
# As a toolchain file for clang says it.
builds_for aarch64-unknown-linux-musl clang cross clang Linux aarch64 -DCMAKE_C_COMPILER_TARGET=aarch64-linux-musl

builds_for x86_64-pc-windows-gnu x86_64-w64-mingw32 cross x86_64-w64-mingw32 Windows AMD64 -DBUILD_SHARED_LIBS=ON
grep -q 'no shared library on Windows; surprisal::surprisal is the static one' "$work/configured" || fail "a shared library on Windows"
[ -s "$work/build/libsurprisal.a" ] && [ -s "$work/build/libsurprisal_tools.a" ] || fail "no libraries for Windows"

for arch in arm64 x86_64; do
    triple=$(echo "$arch" | sed s/arm64/aarch64/)-apple-darwin
    builds_for "$triple" "$triple" cross "$triple" Darwin "$arch" -DCMAKE_OSX_ARCHITECTURES="$arch"
    grep -q -- '--crate-type staticlib,cdylib .*-install_name,@rpath/libsurprisal\.[0-9.]*\.dylib' "$work/record" ||
        fail "no dylib: $(cat "$work/record")"
    [ -s "$work/build/libsurprisal.dylib" ] && [ -s "$work/build/libsurprisal.a" ] || fail "no libraries for Darwin"
done
refused "build each by itself" cross "$triple" Darwin arm64 '-DCMAKE_OSX_ARCHITECTURES=arm64;x86_64' -DCMAKE_OSX_SYSROOT="$work"

refused "Set SURPRISAL_RUST_TARGET" cross vax-linux-gnu Linux vax
builds_for vax-unknown-linux-gnu vax-linux-gnu cross vax-linux-gnu Linux vax -DSURPRISAL_RUST_TARGET=vax-unknown-linux-gnu

# Tools without Rust's.
rm -rf "${work:?}/tools" "$work/build"
mkdir "$work/tools"
for tool in cc as ld ar nm ranlib strip objcopy objdump readelf ninja sh; do
    ln -s "$(command -v "$tool")" "$work/tools/$tool"
done
cmake=$(command -v cmake)
refused "there is none. Install Rust from https://rustup.rs" env -u CARGO_HOME HOME="$work" PATH="$work/tools" \
    "$cmake" -S "$root" -B "$work/build" -G Ninja -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF
FAKE_RELEASE=1.70.0
export FAKE_RELEASE
refused "is of 1.70.0. Install Rust" configure

#!/bin/sh
# Makes the source of the C library as one archive that builds without a network: surprisal-VERSION.tar.gz in OUT_DIR, with the crates it
# needs. Of the workspace it has the crates `core`, `linear` and `capi`, without what only their tests use, the gemm crate and the GPU.
#
#     capi/source_tarball.sh OUT_DIR
set -eu

[ $# -eq 1 ] || {
    sed -n 's/^#     /usage: /p' "$0" >&2
    exit 2
}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
name=surprisal-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/$name"
tree=$work/$name

(cd "$root" && tar -cf - CMakeLists.txt Cargo.toml Cargo.lock CHANGELOG.md LICENSE-APACHE LICENSE-MIT README.md cmake core docs/embedding \
    include linear/Cargo.toml linear/src capi/Cargo.toml capi/cut.sh capi/src) | (cd "$tree" && tar -xf -)
rm -rf "$tree/capi/src/gpu" "$tree/include/surprisal_gpu.h"

# edit FILE AWK_PROGRAM
edit() {
    awk "$2" "$tree/$1" >"$work/edited"
    cp "$work/edited" "$tree/$1"
}
edit Cargo.toml '/^default-members/ { next } /^exclude/ { next }
    /^members/ { $0 = "members = [\"core\", \"linear\", \"capi\"]" }
    /^\[/ { skip = /^\[profile\.dev/ }
    !skip'
for crate in core linear capi; do
    edit $crate/Cargo.toml '/^surprisal-gpu/ { next }
        /^gpu = / { $0 = "gpu = []" }
        /^default = \["gemm"/ { $0 = "default = []" }
        /^gemm = { version/ { next }
        /^(gemm|avx512) = / { $0 = $1 " = []" }
        { sub(/"gemm\?\/rayon", /, "") }
        /^\[/ { skip = /^\[(target|dev-dependencies)|^\[\[(bench|test)\]\]/ }
        !skip'
done

mkdir "$tree/.cargo"
cat >"$tree/.cargo/config.toml" <<'END'
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"
END
# The lock file loses the crates that nothing needs any more, and keeps the versions of the others.
(cd "$tree" && cargo vendor --quiet)
if grep '^checksum' "$tree/Cargo.lock" | grep -vxFf "$root/Cargo.lock" >&2; then
    echo "source_tarball: Cargo.lock has crates that the workspace's has not" >&2
    exit 1
fi
tar -czf "$out/$name.tar.gz" -C "$work" "$name"
printf '%s\n' "$out/$name.tar.gz"

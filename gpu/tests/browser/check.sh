#!/bin/sh
# Runs the shaders on implementations of WebGPU other than wgpu, and compares with the f64 oracle: in Dawn (npm's webgpu), and in a headless Chromium.
# Both compute with SwiftShader, the Vulkan driver without a GPU that comes with Chromium and that takes subnormals for 0.
#
#     gpu/tests/browser/check.sh [DIR]
#
# Needs cargo, node, npm, Debian's chromium and, the first time, the network. DIR is the folder for what is installed and written.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
work=${1:-$root/target/browser}
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)

# Node looks for packages beside the script; the package is that of the other check.
cp "$here"/*.mjs "$here/page.html" "$here/../strictness/package.json" "$work"
if ! cmp -s "$work/package.json" "$work/installed"; then
    npm install --prefix "$work" --no-audit --no-fund --no-package-lock --loglevel=error
    cp "$work/package.json" "$work/installed"
fi

rm -f "$work/cases.json"
SURPRISAL_CASES=$work/cases.json \
    cargo test --quiet --manifest-path "$root/Cargo.toml" -p surprisal-gpu --lib -- --ignored --exact export::write
VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json node "$work/dawn.mjs" "$work/cases.json"
node "$work/chromium.mjs" chromium "$work/cases.json"

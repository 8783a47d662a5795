#!/bin/sh
# Compiles every shader with Tint, the WGSL compiler of Chrome, through npm's webgpu. Needs node, npm and, the first time, the network; no GPU.
# An argument names the folder for what is installed and written.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
work=${1:-$root/target/strictness}
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)

# Node looks for packages beside the script.
cp "$here/package.json" "$here/check.mjs" "$work"
if ! cmp -s "$here/package.json" "$work/installed"; then
    npm install --prefix "$work" --no-audit --no-fund --no-package-lock --loglevel=error
    cp "$here/package.json" "$work/installed"
fi

rm -rf "$work/shaders"
cargo run --quiet --manifest-path "$root/Cargo.toml" -p surprisal-gpu --example shaders -- "$work/shaders"
node "$work/check.mjs" "$work/shaders"

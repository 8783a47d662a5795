#!/bin/sh
# Counts the instructions that real hardware would run for an element of a row, with no hardware: Mesa's RADV compiles for AMD's chips on a device that
# is none. An argument names the folder for what is built and written; FAMILY another chip than navi21 (navi10, vega10, polaris10, gfx1100).
#
#     gpu/tests/isa/count.sh [DIR]
#
# Needs cargo, a C compiler, Python, Debian's libvulkan-dev and mesa-vulkan-drivers.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
work=${1:-$root/target/isa}
rm -rf "$work/spirv" "$work/compiled"
mkdir -p "$work/spirv" "$work/compiled"

cc -O -Wall -Wextra -o "$work/compile" "$here/compile.c" -lvulkan
cargo run --quiet --manifest-path "$root/Cargo.toml" -p surprisal-gpu --example spirv -- "$work/spirv"

icd=$(ls /usr/share/vulkan/icd.d/radeon_icd.*.json)
export VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd" RADV_FORCE_FAMILY="${FAMILY:-navi21}"
export RADV_DEBUG=shaders,shaderstats,nocache MESA_SHADER_CACHE_DISABLE=true
for file in "$work"/spirv/*.spv; do
    name=$(basename "$file" .spv)
    # The device that is none crashes now and then.
    tries=0
    until "$work/compile" "$file" "${name%%-*}" >"$work/device" 2>"$work/compiled/$name"; do
        tries=$((tries + 1))
        [ "$tries" -lt 9 ] || exit 1
    done
done
echo "$(cat "$work/device"), $(dpkg-query --show mesa-vulkan-drivers 2>/dev/null || echo 'Mesa of unknown version')"
python3 "$here/count.py" "$work"/compiled/*

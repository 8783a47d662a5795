#!/bin/sh
# The headers in the languages and on the machines that they are written for: gcc and clang with their warnings, every standard from C99 and
# C++11 to C23 and C++20, without exceptions, and the layout of structs where pointers have 32 bits.
#
#     capi/tests/header.sh
#
# Needs gcc, g++ and clang; compiles only, nothing is linked or run.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
tests=$root/capi/tests/c
common="-Wall -Wextra -Wpedantic -Wundef -Wshadow -Wconversion -Werror -fsyntax-only -I$root/include"
checked=0

# compiles COMPILER ARGUMENT...: it accepts the source without a word.
compiles() {
    checked=$((checked + 1))
    # shellcheck disable=SC2086 # $common is a list
    "$@" $common || { echo "header: FAILED: $*"; exit 1; }
}

for standard in c99 c11 c17 c2x; do
    compiles gcc -std="$standard" -Wstrict-prototypes -x c "$tests/header.c"
    compiles clang -std="$standard" -Wstrict-prototypes -x c "$tests/header.c"
done
for standard in c++11 c++17 c++20; do
    compiles g++ -std="$standard" -x c++ "$tests/header.c"
    compiles clang++ -std="$standard" -x c++ "$tests/header.c"
done
for standard in c++17 c++20; do
    compiles clang++ -std="$standard" -x c++ "$tests/layer.cpp"
    compiles clang++ -std="$standard" -fno-exceptions -x c++ "$tests/layer.cpp"
    compiles g++ -std="$standard" -fno-exceptions -fno-rtti -x c++ "$tests/layer.cpp"
done

# Pointers of 32 and 64 bits, with doubles and 64-bit integers at multiples of 4 (i386) and of 8 (the others).
for target in i386-linux-gnu armv7-none-eabi wasm32 riscv32 x86_64-linux-gnu aarch64-linux-gnu x86_64-windows-msvc; do
    compiles clang --target="$target" -std=c11 -ffreestanding -x c "$tests/layout.c"
done
# A check that cannot fail proves nothing.
if clang --target=wasm32 -std=c11 -ffreestanding -fsyntax-only -I"$root/include" -x c - 2>/dev/null <<'END'
#include "surprisal.h"
struct grown { surprisal_batch batch; double value; int32_t last; };
_Static_assert(offsetof(struct grown, last) + sizeof(int32_t) == sizeof(struct grown), "padding");
END
then
    echo "header: FAILED: padding at the end is not seen"
    exit 1
fi
# C++ and C23 tell enumerators of different families apart.
for wrong in 'loss.reduction = SURPRISAL_OBJECTIVE_DFT' 'loss.objective = SURPRISAL_REDUCTION_SUM' 'z.dtype = SURPRISAL_OBJECTIVE_SFT'; do
    if printf '#include "surprisal.h"\nint main() { surprisal_loss loss; surprisal_logits z; %s; }\n' "$wrong" |
        g++ -std=c++17 -fsyntax-only -I"$root/include" -x c++ - 2>/dev/null; then
        echo "header: FAILED: C++ compiles $wrong"
        exit 1
    fi
done
echo "header: $checked compilations"

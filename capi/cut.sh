#!/bin/sh
# Cuts from cargo's static library what a header declares: an archive that exports those functions and nothing else, and a shared library
# of the same code. ELF only. Cargo's archive has the compiler's built-ins beside the code of its crates, libm's names among them: a program
# that is linked with it takes its sqrt and fmod from there, or does not link at all.
#
#     capi/cut.sh RAW_ARCHIVE HEADER ARCHIVE [SHARED_LIBRARY SONAME]
#
# Tools are those of LD, OBJCOPY, NM, AR and CC, the last with CFLAGS and, for the shared library, LDFLAGS. With KEEP_SYMBOLS=1 the shared
# library keeps local symbols and debug information.
set -eu

[ $# -eq 3 ] || [ $# -eq 5 ] || {
    sed -n 's/^#     /usage: /p' "$0" >&2
    exit 2
}
raw=$1 header=$2 archive=$3 shared=${4:-} soname=${5:-}
nm=${NM:-nm} objcopy=${OBJCOPY:-objcopy}
# After an error there is none; and a program that runs with the old one keeps it.
rm -f "$archive" ${shared:+"$shared"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    printf 'cut: %s: %s\n' "$(basename "$archive")" "$*" >&2
    exit 1
}

# Declarations without comments and macros, one a line, from SURPRISAL_API on; a function's name stands before the first parenthesis.
sed -e 's|//.*||' -e '/^#/d' "$header" | tr '\n;' ' \n' |
    sed -n 's/.*SURPRISAL_API \([^(]*[ *]\)\(surprisal_[a-z0-9_]*\)(.*/\2/p' | LC_ALL=C sort >"$work/declared"
[ -s "$work/declared" ] || fail "$header declares no function"

# One object with what the functions need. It keeps a section for each function, so that a program's own --gc-sections leaves out more.
sed 's/^/-u /' "$work/declared" >"$work/entries"
# lld wants an object before the archive, to know the target.
echo 'typedef int empty;' >"$work/empty.c"
# shellcheck disable=SC2086 # flags are lists
"${CC:-cc}" ${CFLAGS:-} -fno-lto -c "$work/empty.c" -o "$work/empty.o"
"${LD:-ld}" -r --gc-sections "@$work/entries" -o "$work/all.o" "$work/empty.o" "$raw"
"$objcopy" --keep-global-symbols="$work/declared" --remove-section=.llvmbc --remove-section=.llvmcmd --remove-section=.comment \
    --remove-section=.note.gnu.property "$work/all.o" "$work/full.o"
"$objcopy" --strip-unneeded "$work/full.o" "$work/surprisal.o"

"$nm" -g "$work/surprisal.o" >"$work/symbols"
awk '$2 != "U" && $1 != "U" && NF == 3 {print $3}' "$work/symbols" | LC_ALL=C sort >"$work/exported"
diff "$work/declared" "$work/exported" >&2 || fail "exports (>) are not what $header declares (<)"
# What a compiler may ask of every C library, also of a freestanding one; strlen is for the caller's texts.
needs=$(awk '$1 == "U" || $1 == "w" {print $2}' "$work/symbols" |
    grep -vxE 'memcpy|memmove|memset|memcmp|bcmp|strlen|_GLOBAL_OFFSET_TABLE_' || true)
[ -z "$needs" ] || fail "needs $needs"

"${AR:-ar}" rcsD "$work/surprisal.a" "$work/surprisal.o"
if [ -n "$shared" ]; then
    # Without std nothing but libc's memory functions is needed, not even what compilers put before main.
    if [ -n "${KEEP_SYMBOLS:-}" ]; then object=full strip=; else object=surprisal strip=-s; fi
    # shellcheck disable=SC2086
    "${CC:-cc}" ${CFLAGS:-} -shared ${LDFLAGS:-} $strip -nostdlib -Wl,--gc-sections -Wl,-soname,"$soname" "$work/$object.o" -lc \
        -o "$work/surprisal.so"
    "$nm" -D --defined-only "$work/surprisal.so" | awk '$3 !~ /^_/ {print $3}' | LC_ALL=C sort >"$work/exported"
    diff "$work/declared" "$work/exported" >&2 || fail "the shared library's exports (>) are not what $header declares (<)"
    cp "$work/surprisal.so" "$shared"
fi
cp "$work/surprisal.a" "$archive"

#!/bin/sh
# Builds the trainers in C and C++, the MPI programs and the one for ggml, runs them, and checks what they print. Needs cmake, a C and a C++
# compiler and MPI; an argument names the folder for the builds.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/.." && pwd)
work=${1:-$root/target/examples}
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)

fail() {
    echo "examples: FAILED: $*"
    exit 1
}

build() {
    cmake -S "$here/$1" -B "$work/$1" -DCMAKE_BUILD_TYPE=Release -DSURPRISAL_CARGO_TARGET_DIR="$work/cargo" \
        -DCMAKE_C_FLAGS='-Wall -Wextra -Wpedantic -Werror' -DCMAKE_CXX_FLAGS='-Wall -Wextra -Wpedantic -Werror' >"$work/log" 2>&1 &&
        cmake --build "$work/$1" >>"$work/log" 2>&1 || { cat "$work/log"; fail "$1 does not build"; }
}

# quoted PAGE: code that follows a comment with the name of its file is quoted from there.
quoted() {
    awk -v root="$root/" '
        /^<!-- .* -->$/ { file = root $2; next }
        /^```c$/ && file != "" { block = ""; inside = 1; next }
        /^```$/ && inside {
            source = ""
            while ((getline line < file) > 0) source = source line "\n"
            close(file)
            if (!index(source, block)) { print file " does not have:\n" block; wrong = 1 }
            blocks++; inside = 0; file = ""
        }
        inside { block = block $0 "\n" }
        END { exit wrong || !blocks }' "$root/docs/embedding/$1" || fail "$1 quotes code that is not there"
}

# Real text that every checkout has.
text=$work/text
cat "$root"/README.md "$root"/LICENSE-APACHE "$root"/core/src/*.rs "$root"/core/src/*/*.rs >"$text"

# learned LOG SHARE: the validation nll is below this share of the unigram entropy that is printed beside it.
learned() {
    tail -n 1 "$1"
    awk -v share="$2" '/^final:/ { gsub(",", ""); nll = $4; unigram = $7 }
        END { exit !(unigram > 1 && nll > 0 && nll < share * unigram) }' "$1" || fail "nothing was learned"
}

# refused WHAT PROGRAM...: exit code 2, and stderr says WHAT.
refused() {
    what=$1
    shift
    code=0
    "$@" >/dev/null 2>"$work/error" || code=$?
    [ "$code" = 2 ] && grep -q "$what" "$work/error" || fail "$*: exit code $code, $(cat "$work/error")"
    head -n 1 "$work/error"
}

echo "examples: the trainer in C"
build c
c=$work/c/train
"$c" --check || fail "its gradients are wrong"
"$c" "$text" --steps 400 >"$work/sft" || fail "sft"
learned "$work/sft" 0.75
for objective in dft talr focal talr-auto dft-sequence; do
    "$c" "$text" --steps 20 --objective "$objective" | tail -n 1 | grep "objective $objective" || fail "$objective"
done
# The threads share the work and change nothing.
for threads in 1 3; do
    "$c" "$text" --steps 10 --threads "$threads" | tail -n 1 >"$work/threads$threads"
done
cmp "$work/threads1" "$work/threads3" || fail "the result depends on the number of threads"
refused "objective: has no such name" "$c" "$text" --objective no-such-objective
refused "no parameter" "$c" "$text" --no-such-option 1
refused pairs "$c" "$text" --objective dpo
refused no-such-file "$c" no-such-file

echo "examples: the trainer in C++"
build cpp
cpp=$work/cpp/train
"$cpp" "$text" >"$work/cpp.log" || fail "C++"
learned "$work/cpp.log" 0.75
refused objective "$cpp" "$text" no-such-objective
refused usage "$cpp"

echo "examples: a vocabulary and a batch over MPI ranks"
build mpi
for program in vocab_parallel data_parallel; do
    for ranks in 1 2 3 4; do
        mpirun --allow-run-as-root --oversubscribe -n "$ranks" "$work/mpi/$program" >"$work/mpi.log" 2>&1 ||
            { cat "$work/mpi.log"; fail "$program: $ranks ranks"; }
        grep "^$program: ok on $ranks ranks" "$work/mpi.log" || fail "$program: $ranks ranks say nothing"
    done
done
quoted distributed.md

echo "examples: the loss of a ggml graph"
# ggml is compiled with its own warnings.
{ cmake -S "$here/ggml" -B "$work/ggml" -DCMAKE_BUILD_TYPE=Release -DSURPRISAL_CARGO_TARGET_DIR="$work/cargo" \
    -DWARNINGS='-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Werror' &&
    cmake --build "$work/ggml" --parallel "$(nproc)"; } >"$work/log" 2>&1 || { cat "$work/log"; fail "ggml does not build"; }
"$work/ggml/train" >"$work/ggml.log" 2>&1 || { cat "$work/ggml.log"; fail "ggml"; }
grep -E 'ggml_cross_entropy_loss|% off|^a wrong target' "$work/ggml.log"
grep -x 'ggml: ok' "$work/ggml.log" || fail "ggml says nothing"
quoted ggml.md
echo "examples: ok"

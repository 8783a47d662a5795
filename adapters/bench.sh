#!/bin/sh
# Loss and backward pass of 512 x 32000 logits beside the frameworks' own losses: time over that of ours, and peak memory in logit matrices.
#
#     adapters/bench.sh [PYTHON]
#
# PYTHON has torch and this repository's package, and TRL 0.29 if that is to be in the table.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
echo 'framework,type,contestant,times ours,peak in logit matrices'
for adapter in candle burn; do
    (cd "$here/$adapter" && cargo bench -q --bench loss)
done
"${1:-python3}" "$here/python/bench.py"

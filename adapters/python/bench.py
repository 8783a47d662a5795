#!/usr/bin/env python3
"""Loss and backward pass beside torch's own, in turns: medians over that of `surprisal.torch.loss`.

    python3 adapters/python/bench.py [ROWS VOCAB]
"""

import statistics
import sys
import time

import torch
from surprisal.torch import loss
from torch.nn import functional


def torch_dft(z, targets):
    log_p = functional.log_softmax(z.float(), -1).gather(1, targets[:, None])
    return -(log_p.exp().detach() * log_p).mean()


CONTESTANTS = {
    "surprisal, dft": lambda z, targets: loss(z, targets, "dft"),
    "surprisal, dft in place": lambda z, targets: loss(z.view(z.shape), targets, "dft", in_place=True),
    "torch, cross_entropy": functional.cross_entropy,
    "torch, dft as written": torch_dft,
}


def seconds(function, logits, targets):
    z = logits.clone().requires_grad_()
    start = time.perf_counter()
    function(z, targets).backward()
    return time.perf_counter() - start


def main():
    rows, vocab = map(int, sys.argv[1:]) if len(sys.argv) == 3 else (512, 32000)
    torch.manual_seed(0)
    targets = torch.randint(0, vocab, (rows,))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for dtype in (torch.float32, torch.bfloat16):
            logits = torch.randn(rows, vocab).to(dtype)
            times = {name: [] for name in CONTESTANTS}
            for _ in range(10):
                for name, function in CONTESTANTS.items():
                    times[name].append(seconds(function, logits, targets))
            # The first round warms up.
            medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
            for name, median in medians.items():
                print(f"{threads} threads, {dtype}: {name}: {median / medians['surprisal, dft']:.2f}")


main()

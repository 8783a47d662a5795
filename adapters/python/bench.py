#!/usr/bin/env python3
"""Loss and backward pass beside torch's own, and beside TRL's where it is installed (0.29, the last with a loss over logits).

    python3 adapters/python/bench.py [THREADS]

A line each: framework, type, contestant, time over that of the first contestant (the median of rounds in turns), and the memory that a call takes beyond the logits
at its peak, in matrices like them."""

import os
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import torch
from surprisal.torch import loss
from torch.nn import functional

ROWS, VOCAB, ROUNDS = 512, 32000, 9


def torch_dft(z, targets):
    log_p = functional.log_softmax(z.float(), -1).gather(1, targets[:, None])
    return -(log_p.exp().detach() * log_p).mean()


def torch_in_float(z, targets):
    return functional.cross_entropy(z.float(), targets)


CONTESTANTS = {
    "surprisal dft": lambda z, targets: loss(z, targets, "dft"),
    "surprisal dft in place": lambda z, targets: loss(z.view(z.shape), targets, "dft", in_place=True),
    "surprisal sft": lambda z, targets: loss(z, targets, "sft"),
    "torch's own cross-entropy": functional.cross_entropy,
    "torch's own in f32, as trainers do": torch_in_float,
    "torch dft as written": torch_dft,
}
try:
    from trl.trainer.sft_trainer import dft_loss

    def trl_dft(z, targets):
        # It shifts the labels itself; the last row has none.
        return dft_loss(SimpleNamespace(logits=z[None]), functional.pad(targets[None, :-1], (1, 0)))

    CONTESTANTS["TRL dft"] = trl_dft
except ImportError:
    pass


def prepare(dtype):
    torch.manual_seed(0)
    logits = torch.empty(ROWS, VOCAB, dtype=dtype).normal_()
    return logits, torch.randint(0, VOCAB, (ROWS,))


def call(name, logits, targets):
    z = logits.requires_grad_()
    start = time.perf_counter()
    CONTESTANTS[name](z, targets).backward()
    return time.perf_counter() - start


def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":")) * 1024


def print_peak(dtype, name):
    """Of a process of its own, on Linux: its kernel counts."""
    logits, targets = prepare(dtype)
    call(name, logits[:2].detach().clone(), targets[:2])  # what is loaded at the first call
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    call(name, logits, targets)
    print((status("VmHWM") - before) / (logits.numel() * logits.element_size()))


def main():
    if sys.argv[1:2] == ["--peak"]:
        return print_peak(getattr(torch, sys.argv[2]), sys.argv[3])
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count())
    for kind, dtype in (("f32", "float32"), ("bf16", "bfloat16")):
        logits, targets = prepare(getattr(torch, dtype))
        times = {name: [] for name in CONTESTANTS}
        for _ in range(ROUNDS + 1):
            for name in CONTESTANTS:
                times[name].append(call(name, logits.clone(), targets))
        unit = next(iter(times.values()))
        for name, taken in times.items():
            # The first round warms up.
            ratio = statistics.median(a / b for a, b in zip(taken[1:], unit[1:]))
            peak = subprocess.run([sys.executable, __file__, "--peak", dtype, name], capture_output=True, text=True, check=True)
            print(f"torch,{kind},{name},{ratio:.2f},{float(peak.stdout):.2f}", flush=True)


main()

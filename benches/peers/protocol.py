"""The line protocol of the workers, and the Python workers' side of it (`src/lib.rs` is the Rust workers').

A worker is a process that the driver asks, a line at a time, and that answers each line with one:

    setup ARGUMENTS  ->  ok                    loads a problem; `read_setup` and `linear_data.read_setup` say which arguments
    run WHAT         ->  ok MS LOSS            a call
    save             ->  ok                    writes gradients of the last call into the problem's folder, for those whose are checked
    memory WHAT      ->  ok BYTES [STATED]     another call: its peak memory beyond what was resident before, and what the library
                                               says that it needs, if it does
    quit

or `error MESSAGE`. WHAT names one of the ways that a worker can do it in, for those that have several.
"""

import ctypes
import gc
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Setup:
    """One problem, as the driver wrote it. 16-bit logits are bit patterns here, for numpy has no bf16."""

    task: str
    dtype: str
    rows: int
    vocab: int
    threads: int
    logits: np.ndarray
    targets: np.ndarray


class Worker(Protocol):
    """A library that does the work."""

    def prepare(self) -> None:
        """What a call needs and no timing should contain: drops what the last call returned."""

    def call(self) -> float:
        """The measured work. Returns the loss, and keeps the gradient until the next `prepare`."""

    def release(self) -> None:
        """Gives back memory that it keeps between calls, so that it counts as the next call's."""

    def save(self) -> None:
        """Writes what is to be checked."""
        raise NotImplementedError


def serve(make: Callable[..., Worker]) -> None:
    """Answers the driver until it says `quit`."""
    # Whatever a library prints goes to stderr: stdout is the driver's.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            match line.split():
                case ["quit"]:
                    return
                case ["setup", *arguments]:
                    worker = None  # before the next problem needs its memory
                    worker = make(*arguments)
                    answer = ""
                case ["run", _] if worker:
                    answer = _run(worker)
                case ["save"] if worker:
                    worker.save()
                    answer = ""
                case ["memory", _] if worker:
                    answer = _memory(worker)
                case _:
                    raise ValueError(f"cannot do: {line}")
            print("ok", answer, file=answers)
        except Exception as error:  # the driver decides what a failure means
            print("error", type(error).__name__, " ".join(str(error).split())[:500], file=answers)


def _run(worker: Worker) -> str:
    worker.prepare()
    start = time.perf_counter()
    loss = worker.call()
    ms = (time.perf_counter() - start) * 1e3
    return f"{ms:.6f} {loss:.17e}"


def _memory(worker: Worker) -> str:
    """Peak memory of a call, after everything that the last one left has gone back to the system. It should not be the first, which
    compiles, and loads code that has nothing to do with the work."""
    worker.prepare()
    worker.release()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    worker.call()
    return str(max(0, _status("VmHWM:") - before))


def _status(field: str) -> int:
    """A size in bytes out of the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def read_setup(task: str, dtype: str, rows: str, vocab: str, threads: str, folder: str) -> Setup:
    """FOLDER/logits and FOLDER/targets (u32). Tasks are `ce`, `dft`, `ce-forward`; dtypes `f32`, `bf16`."""
    logits = np.fromfile(Path(folder) / "logits", {"f32": np.float32, "bf16": np.uint16}[dtype])
    targets = np.fromfile(Path(folder) / "targets", np.uint32)
    shape = int(rows), int(vocab)
    if logits.size != math.prod(shape):
        raise ValueError(f"{logits.size} logits for {shape}")
    return Setup(task, dtype, *shape, int(threads), logits.reshape(shape), targets)

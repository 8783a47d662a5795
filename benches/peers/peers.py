#!/usr/bin/env python3
"""The same work done by other libraries, measured beside ours: one command, one table. See README.md."""

import argparse
import os
import sys

from environment import enter_venv
from workers import DTYPES, PEERS, TASKS

SHAPES = ["512x32000", "128x151936", "8192x32768", "4096x1000", "16x262144", "65536x256"]
QUICK_SHAPES = ["64x4096", "37x1001"]


def shape(text: str) -> tuple[int, int]:
    rows, _, vocab = text.partition("x")
    return int(rows), int(vocab)


def main() -> int:
    names = [peer.name for peer in PEERS]
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=shape, action="append", metavar="ROWSxVOCAB")
    parser.add_argument("--dtype", choices=DTYPES, action="append")
    parser.add_argument("--task", choices=TASKS, action="append")
    parser.add_argument("--peer", choices=[*names, "none"], action="append", metavar="PEER")
    parser.add_argument("--threads", type=int, action="append", metavar="N")
    parser.add_argument("--rounds", type=int, default=7, help="at least 7")
    parser.add_argument("--csv", metavar="FILE", help="where to write the lines besides stdout")
    parser.add_argument("--quick", action="store_true", help="a smoke run: small shapes, 3 rounds")
    parser.add_argument("--list", action="store_true", help="names peers, tasks and shapes, and measures nothing")
    options = parser.parse_args()
    if options.list:
        for peer in PEERS:
            print(f"{peer.name:<25}{' '.join(peer.dtypes):<12}{' '.join(peer.tasks)}")
        print("default shapes:", *SHAPES)
        return 0
    if options.quick:
        options.rounds = 3
    elif options.rounds < 7:
        parser.error("fewer than 7 rounds say little")
    options.shape = options.shape or [shape(text) for text in (QUICK_SHAPES if options.quick else SHAPES)]
    options.dtype = options.dtype or list(DTYPES)
    options.task = options.task or list(TASKS)
    options.threads = options.threads or ([min(2, cores)] if options.quick else sorted({1, min(2, cores)}))
    if max(options.threads) > cores:
        parser.error(f"there are {cores} cores")
    enter_venv()
    from driver import run

    return run(options, [peer for peer in PEERS if not options.peer or peer.name in options.peer])


if __name__ == "__main__":
    sys.exit(main())

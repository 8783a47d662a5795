#!/usr/bin/env python3
"""The output layer and its loss in one, beside other libraries and over the bare matrix products. See README.md."""

import argparse
import os
import sys

from environment import enter_venv
from workers import DTYPES

SHAPES = ["4096x256x4096", "1024x1024x32000", "512x2048x151936"]
QUICK_SHAPES = ["96x64x1000"]


def main() -> int:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", action="append", metavar="ROWSxDxVOCAB")
    parser.add_argument("--dtype", choices=DTYPES, action="append")
    parser.add_argument("--masked", type=int, action="append", metavar="PERCENT", help="rows that are ignored")
    parser.add_argument("--task", choices=["both", "hidden"], default="both", help="dH and dW, or dH alone")
    parser.add_argument("--peer", action="append", metavar="PEER")
    parser.add_argument("--threads", type=int, default=min(2, cores), metavar="N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--csv", metavar="FILE", help="where to write the lines besides stdout")
    parser.add_argument("--curve", metavar="FILE.svg", help="time over workspace of chunks of all sizes instead, drawn here")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a small shape, 3 rounds")
    parser.add_argument("--here", action="store_true", help="in this Python, which has torch, not in an environment of its own")
    parser.add_argument("--list", action="store_true", help="names peers and shapes, and measures nothing")
    options = parser.parse_args()
    if options.threads > cores:
        parser.error(f"there are {cores} cores")
    if options.quick:
        options.rounds = 3
    options.shape = options.shape or (QUICK_SHAPES if options.quick else SHAPES)
    options.dtype = options.dtype or list(DTYPES)
    options.masked = options.masked or [0, 70]
    if not (options.here or options.list):
        enter_venv()
    from linear_peers import PEERS

    if options.list:
        print(*(f"{peer.name:<25}{' '.join(peer.dtypes)}" for peer in PEERS), sep="\n")
        print("default shapes:", *SHAPES)
        return 0
    unknown = set(options.peer or []) - {"none", *(peer.name for peer in PEERS)}
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}")
    peers = [peer for peer in PEERS if not options.peer or peer.name in options.peer]
    if options.curve:
        from linear_curve import run
    else:
        from linear_driver import run
    return run(options, peers)


if __name__ == "__main__":
    sys.exit(main())

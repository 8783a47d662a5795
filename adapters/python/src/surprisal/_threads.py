"""Threads that share a batch by ranges of rows. ctypes lets go of Python's lock during a call, so that they run at the same time."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

# Elements of the logits below which a second thread costs more than it brings.
GRAIN = 1 << 16


@cache
def _pool():
    return ThreadPoolExecutor(max_workers=available(), thread_name_prefix="surprisal")


# A child has none of the threads of the process that it was forked from.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def available():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(count, work):
    """Calls `work(i)` for each i below `count`, at the same time, and returns their results in order."""
    others = [_pool().submit(work, index) for index in range(1, count)]
    try:
        first = [work(0)] if count else []
    finally:
        # Nobody may use the caller's memory once this returns.
        for other in others:
            other.exception()
    return first + [other.result() for other in others]


def over_rows(rows, columns, threads, work):
    """Calls `work(begin, end)` on ranges of the rows, one a thread as far as that pays, and returns their results in order."""
    parts = max(1, min(threads or available(), rows, rows * columns // GRAIN))
    return each(parts, lambda part: work(rows * part // parts, rows * (part + 1) // parts))

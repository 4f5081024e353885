"""Sharing out worlds, or what their sensors see, among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numba

LEAST = 8
"""A thread is not woken for fewer."""


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, "drive")


def share(work: Callable[[int, int], None], count: int) -> None:
    """`work(first, last)` for all of `count`, in as many threads as `numba.get_num_threads` says.

    Threads, and not `numba.prange`: a loop of its is compiled twice more, with all that is built into it, and that
    took half of the first call.
    """
    threads = min(int(numba.get_num_threads()), count // LEAST)
    if threads < 2:
        work(0, count)
        return
    edges = [count * k // threads for k in range(threads + 1)]
    waiting = [_pool().submit(work, first, last) for first, last in pairwise(edges[1:])]
    work(edges[0], edges[1])
    for other in waiting:
        other.result()

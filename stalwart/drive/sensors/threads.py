"""Sharing out views among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numba

LEAST = 8
"""A thread is not woken for fewer views."""


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, "sensors")


def share(work: Callable[[int, int], None], views: int) -> None:
    """`work(first, last)` for all views, in as many threads as `numba.get_num_threads` says.

    Threads, and not `numba.prange`: that would compile all kernels once more, which takes a third of the first call.
    """
    threads = max(1, min(int(numba.get_num_threads()), views // LEAST))
    edges = [views * k // threads for k in range(threads + 1)]
    waiting = [_pool().submit(work, first, last) for first, last in pairwise(edges[1:])]
    work(edges[0], edges[1])
    for other in waiting:
        other.result()

"""Which classes are weaker than the others by more than chance explains."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.05
"""Chance of marking any class at all where all are equally strong."""
MOST_TERMS = 20_000
"""More than six standard deviations for ten million images; a file may claim any number of them."""


def tail(misses: int, n: int, all_misses: int, total: int) -> float:
    """The chance that a class of `n` images has at least `misses` of `all_misses` mistakes among `total` images, were
    mistakes blind to classes.

    Fisher's exact test, one-sided: the upper tail of the hypergeometric distribution (Fisher, "Statistical Methods for
    Research Workers", 1934, section 21.02).

    Raises:
        ValueError: counts that cannot be.
    """
    if not (0 <= misses <= n <= total and misses <= all_misses <= total):
        raise ValueError(f"{misses} of {n} and {all_misses} of {total} do not fit together.")
    if misses * total <= all_misses * n:  # no more than its part: no need to sum what is above a half
        return 1.0
    chance = 0.0
    least = max(misses, n - (total - all_misses))
    for k in range(least, min(n, all_misses, least + MOST_TERMS) + 1):  # above the mean, so the terms only fall
        term = math.exp(_ways(all_misses, k) + _ways(total - all_misses, n - k) - _ways(total, n))
        chance += term
        if term < 1e-12 * chance:
            break
    return min(chance, 1.0)


def _ways(n: int, k: int) -> float:
    """The logarithm of n over k."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def weak(rows: Sequence[tuple[float | None, int]]) -> list[bool]:
    """For each (accuracy, n) whether it lies below the others by more than chance explains, `LEVEL` over all rows
    together (Bonferroni)."""
    known = [(round((1 - accuracy) * n), n) if accuracy is not None else (0, 0) for accuracy, n in rows]
    all_misses, total = sum(misses for misses, _ in known), sum(n for _, n in known)
    tested = sum(n > 0 for _, n in known)
    return [n > 0 and tail(misses, n, all_misses, total) < LEVEL / tested for misses, n in known]

"""Intervals for the figures that reports print."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a share; 95 % by default. (0, 1) where nothing was seen.

    Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927). It keeps inside
    [0, 1] and holds for shares near 0 and 1, where the normal approximation fails.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


@functools.cache
def clopper_pearson(successes: int, n: int, alpha: float) -> tuple[float, float]:
    """(low, high): each a one-sided bound on a share, exact: it fails with a probability of at most `alpha`.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial"
    (Biometrika 1934): low solves P[Bin(n, low) ≥ successes] = alpha, a quantile of Beta(successes, n − successes + 1),
    found by bisection. With alpha = 0.025 the two together are a 95 % interval.
    """
    if not 0 <= successes <= n or n < 1 or not 0 < alpha < 1:
        raise ValueError(f"needs 0 <= successes <= n, n >= 1, 0 < alpha < 1. Got {successes}, {n}, {alpha}.")
    low = 0.0 if successes == 0 else _quantile(alpha, successes, n - successes + 1)[0]
    high = 1.0 if successes == n else 1 - _quantile(alpha, n - successes, successes + 1)[0]
    return low, high


def _quantile(share: float, a: float, b: float) -> tuple[float, float]:
    """Two neighbouring numbers between which the Beta(a, b) distribution function reaches `share`."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high) or high - low < 1e-15 * high:
            return low, high
        if _beta(middle, a, b) < share:
            low = middle
        else:
            high = middle


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz; Numerical Recipes 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / _off(1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _off(1 + even * d), _off(1 + even / c)
        total *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _off(1 + odd * d), _off(1 + odd / c)
        total *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return math.exp(front) * total / a


def _off(value: float) -> float:
    """`value`, kept off zero."""
    return value if abs(value) > 1e-300 else 1e-300


def sign_test(more: int, less: int) -> float:
    """p of the exact two-sided sign test: of more + less pairs that differ, so many differ one way; 1 where none does.

    McNemar, "Note on the sampling error of the difference between correlated proportions" (Psychometrika 1947).
    """
    n = more + less
    p: float = 2 * sum(math.comb(n, k) for k in range(min(more, less) + 1)) / 2**n
    return min(1.0, p)


def bootstrap(
    values: ArrayLike, groups: Sequence[Hashable] | None = None, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of a mean: of `draws` samples of as many values with replacement.

    Efron, "Bootstrap methods: another look at the jackknife" (Annals of Statistics 1979). With few values (some 10) it
    is a little narrow. One value, or one group, gives no spread: (mean, mean).

    Args:
        values: (n,), n >= 1.
        groups: (n,) what each value belongs to; whole groups are drawn, so that values of one group may hang together.
    """
    flat = np.asarray(values, np.float64)
    belongs: Sequence[Hashable] = range(len(flat)) if groups is None else groups
    names = {group: k for k, group in enumerate(dict.fromkeys(belongs))}
    number = np.array([names[group] for group in belongs])
    sums, counts = np.bincount(number, flat), np.bincount(number)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for k in range(draws):  # a draw at a time: all at once would be draws x n numbers
        drawn = random.integers(0, len(sums), len(sums))
        means[k] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """The mean and its interval by Student's t (Gosset 1908): x̄ ± t s / √n; of one value alone it has no end."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, -math.inf, math.inf
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    from scipy.stats import t  # half a second to import, so only where it is asked for

    half = float(t.ppf(0.5 + level / 2, n - 1)) * spread
    return mean, mean - half, mean + half

"""Intervals for the figures that reports print."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence


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

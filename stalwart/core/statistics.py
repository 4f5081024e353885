"""Intervals for the figures that reports print."""

from __future__ import annotations

import math


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

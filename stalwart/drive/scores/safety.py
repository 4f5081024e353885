"""Distances and times that are safe, and rates of what is rare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from stalwart.core.errors import InputError

Floats = NDArray[np.floating]


def time_to_collision(gap_m: Floats, rear_mps: Floats, front_mps: Floats) -> Floats:
    """Seconds until a gap is closed at constant speeds; infinity where it is not."""
    closing = np.asarray(rear_mps - front_mps, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(closing > 0, np.maximum(gap_m, 0.0) / closing, np.inf)


def poisson_interval(count: int, exposure: float, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a rate of which `count` events were seen in `exposure` (Garwood, Biometrika 1936).

    Raises:
        InputError: a negative count, or an exposure of 0 or below.
    """
    if count < 0 or count != int(count):
        raise InputError(f"poisson_interval: count must be an integer of at least 0. Got {count!r}.")
    if not exposure > 0:
        raise InputError(f"poisson_interval: exposure must be above 0. Got {exposure!r}.")
    rest = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(gammaincinv(count, rest))
    return low / exposure, float(gammaincinv(count + 1, 1 - rest)) / exposure

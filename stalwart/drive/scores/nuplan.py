"""nuPlan's closed-loop score: gates that make it 0, and a weighted mean of the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError

LEAST_TTC_S = 0.95
LEAST_PROGRESS = 0.2
COMFORT = {
    "accel_mps2": (-4.05, 2.40), "lateral_mps2": (-4.89, 4.89), "yaw_rate_radps": (-0.95, 0.95),
    "jerk_mps3": (-8.37, 8.37),
}  # fmt: skip
"""Bounds within which a drive is comfortable (Karnchanachari et al., "Towards learning-based planning: the nuPlan
benchmark for real-world autonomous driving", ICRA 2024)."""


@dataclass(frozen=True)
class Drive:
    """What a drive came to. Shares lie in [0, 1]."""

    at_fault_collision: bool
    off_road: bool
    wrong_way: bool
    progress: float
    """Way driven over the way that a careful driver makes in the time, at most 1."""
    least_ttc_s: float
    speeding: float
    """Share of the time above the limit."""
    comfortable: bool


def score(drive: Drive) -> float:
    """In [0, 1]. Weights: time to collision 5, progress 5, speed limit 4, comfort 2.

    Raises:
        InputError: a share outside [0, 1].
    """
    for name in ("progress", "speeding"):
        if not 0 <= getattr(drive, name) <= 1:
            raise InputError(f"Drive.{name} must lie in [0, 1]. Got {getattr(drive, name)!r}.")
    if drive.at_fault_collision or drive.off_road or drive.wrong_way or drive.progress < LEAST_PROGRESS:
        return 0.0
    far = float(drive.least_ttc_s >= LEAST_TTC_S)
    return (5 * far + 5 * drive.progress + 4 * (1 - drive.speeding) + 2 * drive.comfortable) / 16


def comfortable(speed_mps: NDArray[np.floating], yaw_rad: NDArray[np.floating], dt_s: float) -> bool:
    """Whether a course (T,) of speeds and headings keeps within `COMFORT`, by differences over half a second.

    Raises:
        InputError: fewer than three times the half second.
    """
    step = max(round(0.5 / dt_s), 1)
    speed, yaw = np.asarray(speed_mps, np.float64)[::step], np.unwrap(np.asarray(yaw_rad, np.float64))[::step]
    if len(speed) < 3:
        least, came = 3 * step * dt_s, len(speed_mps) * dt_s
        raise InputError(f"comfortable: a course must last at least {least:g} s. Got {came:g} s.")
    over = step * dt_s
    accel, rate = np.diff(speed) / over, np.diff(yaw) / over
    course = {
        "accel_mps2": accel, "lateral_mps2": rate * speed[1:], "yaw_rate_radps": rate,
        "jerk_mps3": np.diff(accel) / over,
    }  # fmt: skip
    return all(bool(((low <= course[name]) & (course[name] <= high)).all()) for name, (low, high) in COMFORT.items())

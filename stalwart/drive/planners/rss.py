"""Distances that are safe whatever others do within reason: responsibility-sensitive safety (RSS).

Shalev-Shwartz, Shammah and Shashua, "On a formal model of safe and scalable self-driving cars" (2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
BRAKE_LEAST_MPS2, BRAKE_MOST_MPS2 = 4.0, 8.0
"""What who is behind is sure to brake with at least, and who is ahead at most, on a dry road."""


def rss_distance(
    rear_mps: Floats | float, front_mps: Floats | float, response_s: float = 0.5, accel_mps2: float = 2.0,
    brake_least_mps2: Floats | float = BRAKE_LEAST_MPS2, brake_most_mps2: Floats | float = BRAKE_MOST_MPS2,
) -> Floats:  # fmt: skip
    """The least safe gap [m] behind a leader: [v_r ρ + ½ a ρ² + (v_r + ρ a)² / (2 b_min) − v_f² / (2 b_max)]₊.

    Lemma 2 of the paper.
    """
    rear, front = np.asarray(rear_mps, np.float64), np.asarray(front_mps, np.float64)
    faster = rear + response_s * accel_mps2
    gap = rear * response_s + accel_mps2 * response_s**2 / 2 + faster**2 / (2 * brake_least_mps2)
    return np.asarray(np.maximum(gap - front**2 / (2 * brake_most_mps2), 0.0))


def proper_brake(grip_mps2: Floats) -> Floats:
    """The braking [m/s²] that RSS asks of who is too near, where tyres grip no more; a tenth is left for steering."""
    return np.asarray(np.minimum(BRAKE_LEAST_MPS2, 0.9 * np.asarray(grip_mps2, np.float64)))


def rss_distance_on(grip_mps2: Floats, rear_mps: Floats | float, front_mps: Floats | float) -> Floats:
    """`rss_distance` [m] where nobody can brake harder than tyres grip."""
    most = np.minimum(BRAKE_MOST_MPS2, np.asarray(grip_mps2, np.float64))
    return rss_distance(rear_mps, front_mps, brake_least_mps2=proper_brake(grip_mps2), brake_most_mps2=most)


def rss_opposite_distance(
    one_mps: Floats | float, other_mps: Floats | float, response_s: float = 0.5, accel_mps2: float = 2.0,
    brake_mps2: float = BRAKE_LEAST_MPS2, brake_right_mps2: float = 2.0,
) -> Floats:  # fmt: skip
    """The least safe gap [m] between two that come towards each other; definition 2 and lemma 3 of the paper.

    Both speeds are at least 0. `one` drives in its right lane and need only brake at `brake_right_mps2`, `other` brakes
    at `brake_mps2`; before that both accelerate for the response time.
    """
    one, other = np.asarray(one_mps, np.float64), np.asarray(other_mps, np.float64)
    one_late, other_late = one + response_s * accel_mps2, other + response_s * accel_mps2
    return np.asarray(
        (one + one_late) / 2 * response_s + one_late**2 / (2 * brake_right_mps2)
        + (other + other_late) / 2 * response_s + other_late**2 / (2 * brake_mps2)
    )  # fmt: skip


def rss_lateral_distance(
    left_mps: Floats | float, right_mps: Floats | float, response_s: float = 0.5, accel_mps2: float = 0.2,
    brake_mps2: float = 0.8, fluctuation_m: float = 0.1,
) -> Floats:  # fmt: skip
    """The least safe gap [m] across the road between flanks; definition 6 and lemma 4 of the paper.

    Args:
        left_mps, right_mps: lateral speeds of the left and of the right one, both positive to the right.
    """
    left, right = np.asarray(left_mps, np.float64), np.asarray(right_mps, np.float64)
    left_late, right_late = left + response_s * accel_mps2, right - response_s * accel_mps2
    # Whoever moves away need not brake for that: it only gains room.
    towards = (left + left_late) / 2 * response_s + np.sign(left_late) * left_late**2 / (2 * brake_mps2)
    away = (right + right_late) / 2 * response_s + np.sign(right_late) * right_late**2 / (2 * brake_mps2)
    return np.asarray(fluctuation_m + np.maximum(towards - away, 0.0))

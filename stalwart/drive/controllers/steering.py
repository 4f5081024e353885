"""Ways to steer along a path: pure pursuit, Stanley, and a linear quadratic regulator.

Arrays of any shape; d is the distance from the path (left is positive) [m], ψ the heading against it [rad].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def pure_pursuit(x_m: Floats, y_m: Floats, wheelbase_m: float) -> Floats:
    """Steering angle of the circle through a point of the path, given in the car's frame (x ahead, y to the left).

    Coulter, "Implementation of the pure pursuit path tracking algorithm" (1992): curvature 2 y / (x² + y²).
    """
    curvature = 2 * y_m / np.maximum(x_m * x_m + y_m * y_m, 1e-6)
    steer: Floats = np.arctan(curvature * wheelbase_m)
    return steer


def stanley(d_m: Floats, heading_rad: Floats, speed_mps: Floats, gain: float = 1.5, soft_mps: float = 1.0) -> Floats:
    """Steering angle −ψ − atan(k d / (v + v0)), with d taken at the front axle.

    Hoffmann et al., "Autonomous automobile trajectory tracking for off-road driving" (ACC 2007), equation 5.
    """
    return -heading_rad - np.arctan(gain * d_m / (speed_mps + soft_mps))


def lqr_gains(distance_weight: float, heading_weight: float) -> tuple[float, float]:
    """Gains on d and ψ for the curvature that minimises ∫ q₁ d² + q₂ ψ² + κ² along the path.

    Along the path d' = ψ and ψ' = κ, a double integrator, whose Riccati equation is solved by k₁ = √q₁ and
    k₂ = √(q₂ + 2 √q₁); so the gains hold at every speed.
    """
    first = math.sqrt(distance_weight)
    return first, math.sqrt(heading_weight + 2 * first)


def lqr(
    d_m: Floats, heading_rad: Floats, curvature: Floats, wheelbase_m: float, distance_weight: float = 0.005,
    heading_weight: float = 0.1,
) -> Floats:  # fmt: skip
    """Steering angle of the path's curvature less the regulator's feedback; weights in 1/m⁴ and 1/m²."""
    first, second = lqr_gains(distance_weight, heading_weight)
    steer: Floats = np.arctan(wheelbase_m * (curvature - first * d_m - second * heading_rad))
    return steer

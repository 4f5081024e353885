"""What planners share: where to aim on the path, and the intelligent driver model on whole batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.controllers.steering import pure_pursuit
from stalwart.drive.scene import Class
from stalwart.drive.world.bodies import BODIES

Floats = NDArray[np.float32]
CAR = BODIES[Class.CAR]
_ACCEL, _BRAKE, _HEADWAY, _STANDING = 1.5, 2.0, 1.5, 2.5
HARD_MPS2 = -9.0
FAR = 1e3


def pursue(seen: Floats) -> NDArray[np.floating]:
    """(W, E) steering angle along the route: aims about a second ahead."""
    path, speed = seen[..., 7:22].reshape(*seen.shape[:2], 5, 3), seen[..., 0]
    # The pursuit's circle starts at the rear axle, along the heading.
    aim = _along(path, np.clip(speed * 0.9, 4.0, 15.0))
    return pure_pursuit(aim[..., 0] + CAR.wheelbase_m / 2, aim[..., 1], CAR.wheelbase_m)


def desired_mps(seen: Floats) -> NDArray[np.floating]:
    """(W, E) the speed from which all that the route's bends and limits ask for is reached at 1.2 m/s²."""
    caps = np.minimum(seen[..., 7:22].reshape(*seen.shape[:2], 5, 3)[..., 2], seen[..., 6, None])
    ahead = np.array([0.0, 5.0, 10.0, 20.0, 40.0])
    slowest: NDArray[np.floating] = np.sqrt(caps**2 + 2 * 1.2 * ahead).min(-1)
    return slowest


def _along(path: Floats, reach_m: NDArray[np.floating]) -> NDArray[np.floating]:
    """(W, E, 2) the point of the path so far along it, up to 20 m: on the parabola through the three known points
    around, as a chord of 5 m cuts a corner of a street by half a metre.
    """
    near = (reach_m <= 7.5)[..., None]
    a, b, c = (np.where(near, path[..., k, :2], path[..., k + 1, :2]) for k in range(3))
    s = reach_m[..., None]
    p, q, r = (np.where(near, low, high) for low, high in ((0.0, 5.0), (5.0, 10.0), (10.0, 20.0)))
    point: NDArray[np.floating] = (
        a * (s - q) * (s - r) / ((p - q) * (p - r))
        + b * (s - p) * (s - r) / ((q - p) * (q - r))
        + c * (s - p) * (s - q) / ((r - p) * (r - q))
    )
    return point


def idm(
    speed: NDArray[np.floating], desired: NDArray[np.floating], gap: NDArray[np.floating], leader: NDArray[np.floating]
) -> NDArray[np.floating]:
    free = np.maximum(_ACCEL * (1 - (speed / np.maximum(desired, 0.1)) ** 4), -3.0)
    wanted = _STANDING + np.maximum(speed * _HEADWAY + speed * (speed - leader) / (2 * np.sqrt(_ACCEL * _BRAKE)), 0)
    wish: NDArray[np.floating] = np.maximum(free - _ACCEL * (wanted / np.maximum(gap, 0.1)) ** 2, HARD_MPS2)
    return wish

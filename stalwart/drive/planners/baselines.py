"""Baseline drivers on the privileged vector: lane keeping with IDM, the same with emergency braking, and an expert.

Whole batches at once. They see no more than `observation.observe` tells: the route for 40 m, the next stop line, the
eight nearest bodies.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.controllers.steering import pure_pursuit
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Worlds
from stalwart.drive.world.bodies import BODIES

Floats = NDArray[np.float32]
Skill = Literal["lane", "brake", "expert"]
_CAR = BODIES[Class.CAR]
_ACCEL, _BRAKE, _HEADWAY, _STANDING = 1.5, 2.0, 1.5, 2.5
_LATEST_S, _HARD_MPS2 = 1.2, -9.0
_FAR = 1e3


class Baseline:
    """A driver for all worlds. 'lane' follows its route and whoever is ahead on it (IDM); 'brake' also brakes hard for
    any body that it would reach within 1.2 s, walkers beside the path included; 'expert' also obeys signals, stop and
    yield signs, and waits for whoever comes.
    """

    def __init__(self, world: Worlds, skill: Skill) -> None:
        self.world = world
        self.skill = expect_choice("Baseline(skill=...)", skill, ("lane", "brake", "expert"))
        self._stopped = np.zeros((world.worlds, world.egos), np.bool_)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget which stop lines it has stopped at, in the worlds of the mask."""
        self._stopped[mask] = False

    def __call__(self) -> Floats:
        """(W, E, 2) controls for `Worlds.step`."""
        seen = self.world.observe()
        speed, limit = seen[..., 0], seen[..., 6]
        path = seen[..., 7:22].reshape(*seen.shape[:2], 5, 3)
        others = seen[..., 28:].reshape(*seen.shape[:2], 8, 8)
        caps = np.minimum(path[..., 2], limit[..., None])
        ahead = np.array([0.0, 5.0, 10.0, 20.0, 40.0])
        desired = np.sqrt(caps**2 + 2 * 1.2 * ahead).min(-1)
        gap, theirs, beside = _ahead(path, others)
        accel = _idm(speed, desired, gap, theirs)
        if self.skill != "lane":
            closing = np.maximum(speed - theirs, 0.1)
            hard = (np.minimum(gap, beside) < speed * _LATEST_S * 0.5 + 1.0) | (gap / closing < _LATEST_S)
            accel = np.where(hard & (speed > 0.5), _HARD_MPS2, accel)
        if self.skill == "expert":
            accel = np.minimum(accel, self._mind_signs(seen, speed, desired, others))
        # Aim about a second ahead along the path. The pursuit's circle starts at the rear axle, along the heading.
        aim = _along(path, np.clip(speed * 0.9, 4.0, 15.0))
        steer = pure_pursuit(aim[..., 0] + _CAR.wheelbase_m / 2, aim[..., 1], _CAR.wheelbase_m)
        return np.stack([accel, steer], -1).astype(np.float32)

    def _mind_signs(self, seen: Floats, speed: Floats, desired: Floats, others: Floats) -> NDArray[np.floating]:
        way = seen[..., 22] - 3.0  # the painted line lies 3 m before the lane's end
        yellow, red, stop, gives = (seen[..., 23 + k] > 0 for k in range(1, 5))
        at_line = (way < 4.0) & (way > -3.5)
        self._stopped = (self._stopped | (at_line & stop & (speed < 0.3))) & (way < 60)
        # Whoever moves within 25 m, not from behind, and is not walking away.
        x, y, moves = others[..., 0], others[..., 1], others[..., 4] > 1.0
        present = others[..., 5] > 0
        coming = (present & moves & (np.hypot(x, y) < 25) & (x > -2.0) & (np.abs(y) > 2.0)).any(-1)
        late = yellow & (speed**2 / (2 * 3.0) < way)
        wait = red | late | (stop & ~self._stopped) | ((gives | (stop & self._stopped)) & at_line & coming)
        slow = gives & (way < 25)
        target = np.where(wait & (way > -1.0), way, _FAR)
        accel = _idm(speed, desired, target + 1.5, np.zeros_like(speed))
        return np.where(slow, np.minimum(accel, _idm(speed, np.minimum(desired, 5.0), target, 0 * speed)), accel)


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


def _idm(
    speed: NDArray[np.floating], desired: NDArray[np.floating], gap: NDArray[np.floating], leader: NDArray[np.floating]
) -> NDArray[np.floating]:
    free = np.maximum(_ACCEL * (1 - (speed / np.maximum(desired, 0.1)) ** 4), -3.0)
    wanted = _STANDING + np.maximum(speed * _HEADWAY + speed * (speed - leader) / (2 * np.sqrt(_ACCEL * _BRAKE)), 0)
    wish: NDArray[np.floating] = np.maximum(free - _ACCEL * (wanted / np.maximum(gap, 0.1)) ** 2, _HARD_MPS2)
    return wish


def _ahead(path: Floats, others: Floats) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """(W, E) gap to the nearest body on the path, its speed along it, and the gap to a walker just beside it."""
    starts, ends = path[..., None, :-1, :2], path[..., None, 1:, :2]  # (W, E, 1, 4, 2)
    points = others[..., :, None, :2]  # (W, E, 8, 1, 2)
    along = ends - starts
    length = np.maximum(np.linalg.norm(along, axis=-1), 1e-3)
    share = np.clip(((points - starts) * along).sum(-1) / length**2, 0, 1)
    away = np.linalg.norm(points - starts - share[..., None] * along, axis=-1)  # (W, E, 8, 4)
    nearest = away.argmin(-1)[..., None]
    upto = np.concatenate([np.zeros_like(length[..., :1]), np.cumsum(length, -1)[..., :-1]], -1)
    s = np.take_along_axis(upto + share * length, nearest, -1)[..., 0]
    d = np.take_along_axis(away, nearest, -1)[..., 0]
    headings = np.broadcast_to(along / length[..., None], (*away.shape, 2))
    heading = np.take_along_axis(headings, nearest[..., None], -2)[..., 0, :]
    cosine = others[..., 2] * heading[..., 0] + others[..., 3] * heading[..., 1]
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    deep = (others[..., 5] * np.abs(cosine) + others[..., 6] * sine) / 2
    broad = (others[..., 6] * np.abs(cosine) + others[..., 5] * sine) / 2
    gap = s - deep - _CAR.length_m / 2
    ahead = (others[..., 5] > 0) & (others[..., 0] > 0) & (s > 0.5)
    on = ahead & (d < broad + _CAR.width_m / 2 + 0.2)
    near = ahead & ~on & (d < broad + _CAR.width_m / 2 + 0.8) & (others[..., 7] > 0)
    gaps = np.where(on, gap, _FAR)
    who = gaps.argmin(-1)[..., None]
    speed = np.take_along_axis(np.maximum(others[..., 4] * cosine, 0), who, -1)[..., 0]
    return np.take_along_axis(gaps, who, -1)[..., 0], speed, np.where(near, gap, _FAR).min(-1)

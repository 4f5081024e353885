"""Baseline drivers: lane keeping with IDM, the same with emergency braking, and the expert of `planners.expert`.

Whole batches at once. The first two see no more than `observation.observe` tells: the route for 40 m, the next stop
line, the eight nearest bodies. The expert is privileged.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.planners.expert import Expert
from stalwart.drive.planners.pursuit import CAR, FAR, HARD_MPS2, desired_mps, idm, pursue
from stalwart.drive.simulation import Worlds

Floats = NDArray[np.float32]
Skill = Literal["lane", "brake", "expert"]
_LATEST_S = 1.2


class Baseline:
    """A driver for all worlds. 'lane' follows its route and whoever is ahead on it (IDM); 'brake' also brakes hard for
    any body that it would reach within 1.2 s, walkers beside the path included; 'expert' obeys signals, signs and
    priority and keeps the distances of RSS.
    """

    def __init__(self, world: Worlds, skill: Skill) -> None:
        self.world = world
        self.skill = expect_choice("Baseline(skill=...)", skill, ("lane", "brake", "expert"))
        self._expert = Expert(world) if skill == "expert" else None

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was under way, in the worlds of the mask."""
        if self._expert is not None:
            self._expert.reset(mask)

    def __call__(self) -> Floats:
        """(W, E, 2) controls for `Worlds.step`."""
        if self._expert is not None:
            return self._expert()
        seen = self.world.observe()
        speed = seen[..., 0]
        path = seen[..., 7:22].reshape(*seen.shape[:2], 5, 3)
        others = seen[..., 28:].reshape(*seen.shape[:2], 8, 8)
        gap, theirs, beside = _ahead(path, others)
        accel = idm(speed, desired_mps(seen), gap, theirs)
        if self.skill == "brake":
            closing = np.maximum(speed - theirs, 0.1)
            hard = (np.minimum(gap, beside) < speed * _LATEST_S * 0.5 + 1.0) | (gap / closing < _LATEST_S)
            accel = np.where(hard & (speed > 0.5), HARD_MPS2, accel)
        return np.stack([accel, pursue(seen)], -1).astype(np.float32)


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
    gap = s - deep - CAR.length_m / 2
    ahead = (others[..., 5] > 0) & (others[..., 0] > 0) & (s > 0.5)
    on = ahead & (d < broad + CAR.width_m / 2 + 0.2)
    near = ahead & ~on & (d < broad + CAR.width_m / 2 + 0.8) & (others[..., 7] > 0)
    gaps = np.where(on, gap, FAR)
    who = gaps.argmin(-1)[..., None]
    speed = np.take_along_axis(np.maximum(others[..., 4] * cosine, 0), who, -1)[..., 0]
    return np.take_along_axis(gaps, who, -1)[..., 0], speed, np.where(near, gap, FAR).min(-1)

"""A guard around any driver: it brakes where the rules of RSS or a collision at hand ask for it, and else looks on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.planners.along import FAR, along_route, courses, safe_beside_m
from stalwart.drive.planners.foresight import CROSS_S, FORESEEN, foresee
from stalwart.drive.planners.pursuit import HARD_MPS2
from stalwart.drive.planners.rss import rss_distance_on
from stalwart.drive.simulation import Worlds

PROPER_MPS2 = -4.2
"""RSS's braking while too near; 4 m/s² are asked for."""
_LATEST_S, _CROSS_S, _STILL_MPS = 1.0, 1.2, 0.3


class Guard:
    """Drives as `driver` does, but brakes at 4.2 m/s² at least while nearer to who is ahead than RSS has it
    (Shalev-Shwartz et al. 2017, definition 4), and as hard as can be where that one would be reached within a second,
    or where somebody who crosses would be met within 1.2 s. Steering is the driver's.
    """

    def __init__(self, world: Worlds, driver: Callable[[], NDArray[np.float32]]) -> None:
        self.world, self.driver = world, driver
        self._ahead = np.zeros((world.worlds, world.egos, len(FORESEEN)), np.float32)
        self._careful = np.zeros((world.state.agents, world.state.traits.shape[2]), np.float32)
        self._dt: Any = np.float32(world.dt_s)
        self.stepped_in = np.zeros((world.worlds, world.egos), np.int64)
        """(W, E) steps in which it braked harder than the driver."""

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was, in the worlds of the mask (W,)."""
        self.stepped_in[mask] = 0
        forget = getattr(self.driver, "reset", None)
        if forget is not None:
            forget(mask)

    def __call__(self) -> NDArray[np.float32]:
        """(W, E, 2) controls for `Worlds.step`."""
        controls = np.array(self.driver(), np.float32)
        world, s = self.world, self.world.state
        foresee(world.tables, world.places.map_n, s.floats, s.ints, s.words, self._careful, self._dt, self._ahead)
        near = along_route(world)
        along, across = courses(world)
        found = (near.ahead_m > 0) & (near.ahead_m < FAR) & (near.beside_m < safe_beside_m(near, across))
        gaps = np.where(found, near.clear_m, FAR)
        who = gaps.argmin(-1)[..., None]
        gap = np.take_along_axis(gaps, who, -1)[..., 0]
        theirs = np.take_along_axis(np.maximum(along, 0.0), who, -1)[..., 0]
        speed = s.speed_mps[:, : world.egos]
        moving = speed > _STILL_MPS
        safe = rss_distance_on(s.grip_mps2[:, None], speed, theirs)
        most = np.where(moving & (gap < safe), PROPER_MPS2, np.inf)
        late = gap / np.maximum(speed - theirs, 0.1) < _LATEST_S
        most = np.where(moving & (late | (self._ahead[..., CROSS_S] < _CROSS_S)), HARD_MPS2, most)
        self.stepped_in += controls[..., 0] > most
        controls[..., 0] = np.minimum(controls[..., 0], most)
        return controls

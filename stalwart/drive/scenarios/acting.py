"""What actors do: follow a lane at a speed and an offset, walk, and start on a cue. All worlds at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.controllers.steering import pure_pursuit
from stalwart.drive.simulation import Worlds
from stalwart.drive.world.bodies import FIRST_KIND, LIMITS, WHEELBASE

Doubles = NDArray[Any]
_PATH_M = np.array([0.0, 5.0, 10.0, 20.0, 40.0])


class Cue:
    """When something first happened in each world."""

    def __init__(self, worlds: int) -> None:
        self.at_s = np.full(worlds, np.inf)
        """(W,) seconds; infinity: not yet."""

    def __call__(self, happened: NDArray[np.bool_], time_s: float) -> Doubles:
        """(W,) seconds since it first happened; −1 where it has not."""
        self.at_s = np.where(happened & np.isinf(self.at_s), time_s, self.at_s)
        return np.where(np.isfinite(self.at_s), time_s - self.at_s, -1.0)


def follow(world: Worlds, actor: int, speed_mps: Doubles | float, aside_m: Doubles | float = 0.0) -> Doubles:
    """(W, 2) controls along the actor's route, `aside_m` to the left of its middle, at a speed."""
    seen, s = world.observe()[:, actor], world.state
    path = seen[:, 7:22].reshape(-1, 5, 3)[..., :2].astype(np.float64)
    reach = np.clip(0.8 * seen[:, 0], 4.0, 15.0)
    k = np.clip(np.searchsorted(_PATH_M, reach, side="right") - 1, 0, 3)
    rows = np.arange(len(k))
    start, end = path[rows, k], path[rows, k + 1]
    along = (end - start) / np.maximum(np.linalg.norm(end - start, axis=-1, keepdims=True), 1e-6)
    aim = start + along * (reach - _PATH_M[k])[:, None]
    aim = aim + np.stack([-along[:, 1], along[:, 0]], -1) * np.broadcast_to(aside_m, reach.shape)[:, None]
    base = LIMITS[s.kind[:, actor] - FIRST_KIND, WHEELBASE]
    steer = pure_pursuit(aim[:, 0] + base / 2, aim[:, 1], 1.0)
    return np.stack([towards(world, actor, speed_mps), np.arctan(np.tan(steer) * base)], -1)


def towards(world: Worlds, actor: int, speed_mps: Doubles | float, gain: float = 3.0) -> Doubles:
    """(W,) acceleration that brings the actor to a speed, as hard as its body can."""
    return np.asarray(gain * (speed_mps - world.state.speed_mps[:, actor]))


def walk(world: Worlds, actor: int, speed_mps: Doubles | float) -> Doubles:
    """(W, 2) controls straight on at a speed."""
    return np.stack([towards(world, actor, speed_mps), np.zeros(world.worlds)], -1)


def gap_m(world: Worlds, actor: int) -> Doubles:
    """(W,) metres from the first driver's front bumper to the actor's near end, along the driver's heading."""
    s = world.state
    dx, dy = s.x_m[:, actor] - s.x_m[:, 0], s.y_m[:, actor] - s.y_m[:, 0]
    ahead = dx * np.cos(s.yaw_rad[:, 0]) + dy * np.sin(s.yaw_rad[:, 0])
    turn = s.yaw_rad[:, actor] - s.yaw_rad[:, 0]
    deep = np.abs(np.cos(turn)) * s.length_m[:, actor] + np.abs(np.sin(turn)) * s.width_m[:, actor]
    return np.asarray(ahead - (s.length_m[:, 0] + deep) / 2, np.float64)


def eased(share: Doubles) -> Doubles:
    """0 to 1 with the slope 0 at both ends, for shares from 0 to 1."""
    share = np.clip(share, 0.0, 1.0)
    return np.asarray(share * share * (3 - 2 * share))


def column(variants: Any, name: str) -> Doubles:
    """(W,) what is swept under a name."""
    return np.array([variant[name] for variant in variants], np.float64)

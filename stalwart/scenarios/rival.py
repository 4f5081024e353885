"""Somebody who drives by a plan, such as a search finds (`drive.adversaries`)."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from stalwart.core.component import between, component
from stalwart.core.errors import InputError
from stalwart.drive.scenarios.acting import eased, follow
from stalwart.drive.scenarios.plan import MOST, PLAN
from stalwart.drive.scenarios.stage import Floats, Stage, Variant, map_seeds, put, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds

_LANE_M, _START_M, _CLEAR_M = 3.6, 60.0, 7.0


@component
class rival:
    """On a motorway of three lanes one drives in the middle, and somebody beside drives by each of the plans."""

    plans: tuple[tuple[float, ...], ...] = ((0.0, 14.0, -3.0, 1.0, 2.0, 1.0, 3.5, -12.0),)
    """One world each, of eight numbers: `PLAN`."""
    speed_kmh: Annotated[float, between(20, 130)] = 90.0
    """One's own speed at the start."""
    seconds: Annotated[float, between(2, 60)] = 12.0
    """The time limit."""
    maps: Annotated[int, between(1, 100)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        if not 1 <= len(self.plans) <= MOST:
            raise InputError(f"rival(plans=...) must hold 1 to {MOST} plans. Got {len(self.plans)}.")
        for plan in self.plans:
            if len(plan) != len(PLAN) or not all(map(math.isfinite, plan)):
                raise InputError(f"rival: a plan holds {len(PLAN)} finite numbers. Got {plan!r}.")
        table = np.array(self.plans, np.float64)
        low, high = np.array([row[1:] for row in PLAN]).T
        table = np.clip(table, low, high)
        named: list[Variant] = [
            {name: float(value) for (name, _, _), value in zip(PLAN, row, strict=True)} for row in table
        ]
        roads = [f"motorway(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(roads, named, seed, actors=1, style=self.style, surface=self.surface)
        of_world = np.repeat(table, len(roads), 0).T  # (8, W)
        lane = np.minimum(of_world[0].astype(np.int64), 2)
        own = self.speed_kmh / 3.6
        theirs = np.maximum(own + of_world[2], 3.0)
        # In the same lane nobody starts within another.
        start = np.where(
            (lane == 1) & (np.abs(of_world[1]) < _CLEAR_M), np.copysign(_CLEAR_M, of_world[1]), of_world[1]
        )
        for w in range(world.worlds):
            put(world, w, 0, 1, _START_M, own)
            put(world, w, 1, int(lane[w]), _START_M + start[w], theirs[w])
        over = (lane - 1) * _LANE_M * of_world[5]  # from the left lane to the right, and the other way round

        def script(world: Worlds, time_s: float) -> Floats:
            aside = over * eased((time_s - of_world[3]) / of_world[4])
            speed = np.maximum(theirs + np.where(time_s >= of_world[6], of_world[7], 0.0), 0.0)
            return follow(world, 1, speed, aside)[:, None]

        return Stage(world, self.seconds, np.full(world.worlds, 0.5 * own * self.seconds, np.float32), variants, script)

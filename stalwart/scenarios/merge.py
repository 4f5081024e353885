"""From an entry onto the motorway."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import column
from stalwart.drive.scenarios.stage import Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface

_RAMP, _BESIDE, _RIGHT, _ON = 7, 5, 2, 9
"""Lanes of `motorway(lanes=3)`: the ramp, whose next lane ends; the one beside that; the one that leads there; and the
one to be in after that, as the one beside ends too."""
_CARS = 8


@component
class merge:
    """One comes up a ramp; the lane ends, and cars drive in the one to be changed to."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (60.0, 80.0)
    """One's own speed at the start."""
    theirs_kmh: tuple[Annotated[float, between(5, 200)], ...] = (80.0, 100.0)
    """Speed of those on the motorway."""
    every_s: tuple[Annotated[float, between(0.5, 60)], ...] = (1.5, 2.5, 4.0)
    """Time between two of them."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "theirs_kmh": self.theirs_kmh, "every_s": self.every_s}
        roads = [f"motorway(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, traffic=_CARS, style=self.style, surface=self.surface
        )
        speed, theirs, every = (column(variants, name) for name in axes)
        for w in range(world.worlds):
            lanes = world.maps[int(world.state.words[w, 2])].lanes
            start = lanes[_RAMP].line.length_m - 110.0
            put(world, w, 0, _RAMP, start, speed[w] / 3.6, route=(_BESIDE, _ON))
            apart = theirs[w] / 3.6 * every[w]
            for k in range(_CARS):
                # The first is as far from the entry's end as one is oneself; the others before and behind it.
                s = lanes[_RIGHT].line.length_m - 110.0 + (3 - k) * apart
                if s > 5.0:
                    put(world, w, 1 + k, _RIGHT, s, theirs[w] / 3.6, route=(_BESIDE,))
        return Stage(world, 60.0, np.full(world.worlds, 330.0, np.float32), variants)

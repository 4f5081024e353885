"""A cyclist ahead: to be followed, or passed with room."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import column, follow
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.scene import Class
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds


@component
class cyclist_overtaking:
    """On a road in the country somebody rides a bicycle near the edge; the goal can be reached behind it too."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (40.0, 60.0, 80.0)
    """One's own speed at the start."""
    rides_kmh: tuple[Annotated[float, between(3, 60)], ...] = (14.0, 22.0)
    """Speed of the cyclist."""
    edge_m: tuple[Annotated[float, between(0, 3)], ...] = (0.5, 1.2)
    """From the lane's right edge to the cyclist's middle."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "rides_kmh": self.rides_kmh, "edge_m": self.edge_m}
        roads = [f"rural(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, rides, edge = (column(variants, name) for name in axes)
        speed, rides, aside = speed / 3.6, rides / 3.6, edge - 1.7
        for w in range(world.worlds):
            put(world, w, 0, 0, 10.0, speed[w])
            put(world, w, 1, 0, 15.0 + 4.0 * speed[w], rides[w], d_m=aside[w], kind=Class.CYCLIST)

        def script(world: Worlds, time_s: float) -> Floats:
            return follow(world, 1, rides, aside)[:, None]

        return Stage(world, 60.0, np.full(world.worlds, 200.0, np.float32), variants, script)

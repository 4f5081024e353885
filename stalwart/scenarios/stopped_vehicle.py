"""A car stands in one's lane."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import Cue, column, follow, gap_m
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.scene import Class
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds
from stalwart.drive.world.bodies import BODIES


@component
class stopped_vehicle:
    """On a road in the country a car has stalled. Five seconds after one has come near it drives on."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (50.0, 65.0, 80.0)
    """One's own speed at the start."""
    distance_m: tuple[Annotated[float, between(10, 250)], ...] = (60.0, 90.0, 150.0)
    """From bumper to bumper at the start."""
    aside_m: tuple[Annotated[float, between(-4, 4)], ...] = (0.0, -1.0)
    """Where in the lane it stands: to the left of its middle, in metres."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""
    kind: Literal["car", "van"] = "car"
    """What stands there."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "distance_m": self.distance_m, "aside_m": self.aside_m}
        roads = [f"rural(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, distance, aside = (column(variants, name) for name in axes)
        kind = Class.CAR if self.kind == "car" else Class.VAN
        between_m = (BODIES[Class.CAR].length_m + BODIES[kind].length_m) / 2  # their middles, bumper to bumper
        for w in range(world.worlds):
            put(world, w, 0, 0, 10.0, speed[w] / 3.6)
            put(world, w, 1, 0, 10.0 + between_m + distance[w], 0.0, d_m=aside[w], kind=kind)
        cue = Cue(world.worlds)

        def script(world: Worlds, time_s: float) -> Floats:
            since = cue(gap_m(world, 1) < 12.0, time_s)
            return follow(world, 1, np.where(since > 5.0, 14.0, 0.0))[:, None]

        return Stage(world, 60.0, (distance + 60.0).astype(np.float32), variants, script)

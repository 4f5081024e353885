"""Who drives ahead brakes hard."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import column, follow
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds

_BRAKES_AT_S, _STANDS_S = 2.0, 4.0


@component
class lead_braking:
    """On a motorway the car ahead brakes to a stop for no reason, stands four seconds, and drives on."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (50.0, 80.0, 110.0)
    """Of both at the start."""
    headway_s: tuple[Annotated[float, between(0.2, 10)], ...] = (1.0, 1.5, 2.5)
    """Time from bumper to bumper at the start."""
    brake_mps2: tuple[Annotated[float, between(0.5, 10)], ...] = (3.0, 6.0, 8.0)
    """How hard the car ahead brakes."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "headway_s": self.headway_s, "brake_mps2": self.brake_mps2}
        roads = [f"motorway(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, headway, brake = (column(variants, name) for name in axes)
        speed = speed / 3.6
        for w in range(world.worlds):
            put(world, w, 0, 1, 10.0, speed[w])
            put(world, w, 1, 1, 10.0 + 4.6 + headway[w] * speed[w], speed[w])
        # On a slippery road it takes longer to stand.
        drives_on_s = _BRAKES_AT_S + speed / np.minimum(brake, world.state.grip_mps2) + _STANDS_S

        def script(world: Worlds, time_s: float) -> Floats:
            controls = follow(world, 1, speed)
            braking = (time_s >= _BRAKES_AT_S) & (time_s < drives_on_s)
            controls[:, 0] = np.where(braking, -brake, np.minimum(controls[:, 0], 2.5))
            return controls[:, None]

        return Stage(world, 60.0, np.full(world.worlds, 350.0, np.float32), variants, script)

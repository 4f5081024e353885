"""Somebody steps out from behind a parked van."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.geometry.lanes import Use
from stalwart.drive.scenarios.acting import Cue, column, gap_m, walk
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.scene import Class
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds


@component
class occluded_pedestrian:
    """In a street a walker crosses, hidden until then by a van that is parked half on the kerb."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (30.0, 45.0)
    """One's own speed at the start."""
    steps_s: tuple[Annotated[float, between(0, 20)], ...] = (1.5, 2.0, 3.0, 4.0)
    """Time to the walker's line, at one's speed then, when it steps out."""
    walks_mps: tuple[Annotated[float, between(0.2, 4)], ...] = (1.2, 2.0)
    """Speed of the walker."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "steps_s": self.steps_s, "walks_mps": self.walks_mps}
        roads = [f"crossroads(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=2, style=self.style, surface=self.surface
        )
        speed, steps, walks = (column(variants, name) for name in axes)
        for w in range(world.worlds):
            lanes = world.maps[int(world.state.words[w, 2])].lanes
            away = [k for k, lane in enumerate(lanes) if lane.use == Use.DRIVE and not lane.successors]
            lane = max(away, key=lambda k: lanes[k].line.length_m)
            put(world, w, 0, lane, 6.0, speed[w] / 3.6)
            put(world, w, 1, lane, 70.0, 0.0, d_m=-3.4, kind=Class.PEDESTRIAN, turn_rad=math.pi / 2)
            put(world, w, 2, lane, 66.2, 0.0, d_m=-2.5, kind=Class.VAN)
        cue = Cue(world.worlds)

        def script(world: Worlds, time_s: float) -> Floats:
            since = cue(gap_m(world, 1) < steps * np.maximum(world.state.speed_mps[:, 0], 2.0), time_s)
            walker = walk(world, 1, np.where(since >= 0, walks, 0.0))
            return np.stack([walker, walk(world, 2, 0.0)], 1)

        return Stage(world, 40.0, np.full(world.worlds, 80.0, np.float32), variants, script)

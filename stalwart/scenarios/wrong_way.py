"""Somebody comes towards one in one's own lane."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import Cue, column, eased, follow, gap_m
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds

_LANE_M = 3.4


@component
class wrong_way:
    """On a road in the country a car comes on the wrong side, and is back on its own at the last moment or late."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (50.0, 70.0)
    """One's own speed at the start."""
    theirs_kmh: tuple[Annotated[float, between(5, 200)], ...] = (40.0, 70.0)
    """Speed of the other."""
    returns_s: tuple[Annotated[float, between(0.1, 20)], ...] = (1.2, 1.8, 3.0)
    """Time to the meeting, as both drive at the start, when it begins to move back."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "theirs_kmh": self.theirs_kmh, "returns_s": self.returns_s}
        roads = [f"rural(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, theirs, returns = (column(variants, name) for name in axes)
        speed, theirs = speed / 3.6, theirs / 3.6
        for w in range(world.worlds):
            lanes = world.maps[int(world.state.words[w, 2])].lanes
            put(world, w, 0, 0, 10.0, speed[w])
            away = 10.0 + 6.0 * (speed[w] + theirs[w])
            put(world, w, 1, 1, lanes[1].line.length_m - away, theirs[w], d_m=_LANE_M)
        cue = Cue(world.worlds)

        def script(world: Worlds, time_s: float) -> Floats:
            closing = theirs + world.state.speed_mps[:, 0]
            since = cue(gap_m(world, 1) < returns * np.maximum(closing, 1.0), time_s)
            return follow(world, 1, theirs, _LANE_M * (1 - eased(since / 2.0)))[:, None]

        return Stage(world, 40.0, np.full(world.worlds, 220.0, np.float32), variants, script)

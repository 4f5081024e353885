"""Somebody runs a red light across one's way."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.geometry.lanes import RoadMap, Turn
from stalwart.drive.scenarios.acting import column, follow
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, set_green, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds

_WAY_M = 65.0


@component
class red_light_runner:
    """At a junction with signals one has green, and a car from the side drives on at red."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (30.0, 40.0)
    """One's own speed at the start."""
    theirs_kmh: tuple[Annotated[float, between(5, 200)], ...] = (30.0, 50.0)
    """Speed of the other."""
    after_s: tuple[Annotated[float, between(-20, 20)], ...] = (-2.0, -1.0, 0.0, 1.0)
    """When the other comes to where the ways cross, after one would oneself at that speed."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "theirs_kmh": self.theirs_kmh, "after_s": self.after_s}
        roads = [f"crossroads(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, theirs, after = (column(variants, name) for name in axes)
        speed, theirs = speed / 3.6, theirs / 3.6
        for w in range(world.worlds):
            roads_here = world.maps[int(world.state.words[w, 2])]
            entering, through, crossing, their_entry, own_m, other_m = _crossing(roads_here)
            lanes = roads_here.lanes
            put(world, w, 0, entering, lanes[entering].line.length_m + own_m - _WAY_M, speed[w], route=(through,))
            way = theirs[w] * max(_WAY_M / speed[w] + after[w], 1.0)
            start = lanes[their_entry].line.length_m + other_m - way
            put(world, w, 1, their_entry, max(start, 3.0), theirs[w], route=(crossing,))
            set_green(world, w, through, into_s=1.0)

        def script(world: Worlds, time_s: float) -> Floats:
            return follow(world, 1, theirs)[:, None]

        return Stage(world, 60.0, np.full(world.worlds, _WAY_M + 35.0, np.float32), variants, script)


def _crossing(roads: RoadMap) -> tuple[int, int, int, int, float, float]:
    """Two ways straight on that cross: lane in, lane through, the other's through and in, metres to where they meet."""
    enters = {after: k for k, lane in enumerate(roads.lanes) if lane.junction < 0 for after in lane.successors}
    straight = {k for k, lane in enumerate(roads.lanes) if k in enters and lane.turn == Turn.STRAIGHT}
    for c in roads.conflicts:
        if c.lane in straight and c.other in straight and roads.lanes[c.lane].signal != roads.lanes[c.other].signal:
            return enters[c.lane], c.lane, c.other, enters[c.other], c.start_m, c.other_start_m
    raise AssertionError(f"{roads.name} has no two ways that cross")

"""A left turn across those who come towards one."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.geometry.lanes import Control, RoadMap, Turn
from stalwart.drive.scenarios.acting import column
from stalwart.drive.scenarios.stage import Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface

_CARS = 5


@component
class unprotected_left:
    """At a junction on a major road one turns left; cars that come towards one go straight on and have priority."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (20.0, 40.0)
    """One's own speed at the start."""
    theirs_kmh: tuple[Annotated[float, between(5, 200)], ...] = (30.0, 45.0)
    """Speed of those who come."""
    every_s: tuple[Annotated[float, between(0.5, 60)], ...] = (1.8, 3.0, 4.5)
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
        roads = [f"crossroads(seed={k}, control='yield')" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, traffic=_CARS, style=self.style, surface=self.surface
        )
        speed, theirs, every = (column(variants, name) for name in axes)
        for w in range(world.worlds):
            roads_here = world.maps[int(world.state.words[w, 2])]
            entering, turning, their_entry, across = _left_turn(roads_here)
            length, theirs_m = (roads_here.lanes[k].line.length_m for k in (entering, their_entry))
            put(world, w, 0, entering, length - 50.0, speed[w] / 3.6, route=(turning,))
            apart = max(theirs[w] / 3.6 * every[w], 8.0)
            for k in range(_CARS):
                if theirs_m - 15.0 - k * apart > 5.0:
                    put(world, w, 1 + k, their_entry, theirs_m - 15.0 - k * apart, theirs[w] / 3.6, route=(across,))
        return Stage(world, 60.0, np.full(world.worlds, 95.0, np.float32), variants)


def _left_turn(roads: RoadMap) -> tuple[int, int, int, int]:
    """A left turn without a sign and a way straight on that it yields to: lanes in and through of both."""
    enters = {after: k for k, lane in enumerate(roads.lanes) if lane.junction < 0 for after in lane.successors}
    for c in roads.conflicts:
        one, other = roads.lanes[c.lane], roads.lanes[c.other]
        if (
            c.yields and c.lane in enters and c.other in enters and enters[c.lane] != enters[c.other]
            and (one.turn, one.control) == (Turn.LEFT, Control.NONE)
            and (other.turn, other.control) == (Turn.STRAIGHT, Control.NONE)
        ):  # fmt: skip
            return enters[c.lane], c.lane, enters[c.other], c.other
    raise AssertionError(f"{roads.name} has no left turn across others")

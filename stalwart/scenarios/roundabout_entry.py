"""Into a roundabout."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.geometry.lanes import Control, RoadMap
from stalwart.drive.scenarios.acting import column
from stalwart.drive.scenarios.stage import Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface

_CARS = 6


@component
class roundabout_entry:
    """One comes to a roundabout, whose cars have priority, and takes the second exit."""

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (20.0, 40.0)
    """One's own speed at the start."""
    cars: tuple[Annotated[float, between(0, _CARS)], ...] = (1.0, 3.0, 5.0)
    """How many drive in the ring, evenly apart; rounded."""
    phase: tuple[Annotated[float, between(0, 1)], ...] = (0.0, 0.5)
    """Where in the ring the first is: a share of the way between two."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "cars": self.cars, "phase": self.phase}
        roads = [f"roundabout(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, traffic=_CARS, style=self.style, surface=self.surface
        )
        speed, cars, phase = (column(variants, name) for name in axes)
        goal = np.zeros(world.worlds, np.float32)
        for w in range(world.worlds):
            roads_here = world.maps[int(world.state.words[w, 2])]
            entering, way, ring = _through(roads_here)
            lengths = [roads_here.lanes[k].line.length_m for k in ring]
            put(world, w, 0, entering, roads_here.lanes[entering].line.length_m - 50.0, speed[w] / 3.6, route=way)
            goal[w] = 50.0 + sum(roads_here.lanes[k].line.length_m for k in way[:-1]) + 20.0
            count = min(round(float(cars[w])), _CARS)
            for k in range(count):
                at, on = (k + phase[w]) * sum(lengths) / count, 0
                while at > lengths[on]:
                    at, on = at - lengths[on], on + 1
                put(world, w, 1 + k, ring[on], at, 5.5, route=(ring[(on + 1) % len(ring)], ring[(on + 2) % len(ring)]))
        return Stage(world, 60.0, goal, variants)


def _through(roads: RoadMap) -> tuple[int, tuple[int, ...], list[int]]:
    """A lane in, the way from it to the second exit, and the ring's lanes in their order."""
    lanes = roads.lanes
    entry = next(k for k, lane in enumerate(lanes) if lane.control == Control.YIELD)
    entering = next(k for k, lane in enumerate(lanes) if entry in lane.successors)
    ring, exits, way = [lanes[entry].successors[0]], 0, [entry]
    while True:
        here = ring[-1]
        out = [k for k in lanes[here].successors if any(lanes[j].junction < 0 for j in lanes[k].successors)]
        if exits < 2:
            way.append(here)
        if out:
            exits += 1
            if exits == 2:
                way += [out[0], lanes[out[0]].successors[0]]
        onward = next(k for k in lanes[here].successors if k not in out)
        if onward == ring[0]:
            return entering, tuple(way), ring
        ring.append(onward)

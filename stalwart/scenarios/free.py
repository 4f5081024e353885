"""Drives among traffic."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import seed_of
from stalwart.drive.scenarios.stage import Stage, Variant, built, lawful_way_m, map_seeds
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, make
from stalwart.drive.traffic.drivers import POPULATIONS

_FAMILIES = {
    "motorway": ("motorway(seed={})", 12, 36, 0),
    "rural": ("rural(seed={})", 8, 24, 0),
    "crossroads": ("crossroads(seed={})", 8, 18, 4),
    "roundabout": ("roundabout(seed={})", 6, 14, 0),
    "town": ("town(seed={}, blocks=2)", 18, 40, 6),
}
"""Each family: its maps, agents where traffic is light and where it is dense, walkers among them."""
_STEP_M = 5.0


@component
class free:
    """Somewhere on a map, on a route drawn by chance, among other drivers and walkers.

    The goal is the way that law allows in half of the time to who is alone (speeds, red lights, stop signs), or the end
    of the road.
    """

    roads: Literal["motorway", "rural", "crossroads", "roundabout", "town"] = "town"
    """The family of roads."""
    density: Literal["light", "dense"] = "light"
    """How many others there are."""
    traffic: Literal["mixed", "timid", "normal", "aggressive"] = "mixed"
    """Who drives there."""
    surface: Surface = "dry"
    """Of the road, for the friction."""
    worlds: Annotated[int, at_least(1)] = 16
    """Drives."""
    maps: Annotated[int, at_least(1)] = 4
    """How many maps the drives take turns on."""
    seconds: Annotated[float, between(2, 600)] = 60.0
    """The time limit."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""

    def stage(self, split: str, seed: int) -> Stage:
        spelled, few, many, walkers = _FAMILIES[self.roads]
        roads = [spelled.format(k) for k in map_seeds(split, min(self.maps, self.worlds))]
        agents = few if self.density == "light" else many
        people = POPULATIONS[self.traffic]
        if self.surface != "dry":  # nobody drives on snow as if it were dry
            people = replace(people, speeding=0.0)
        world = make(
            [built(one) for one in roads], self.worlds, agents=agents, walkers=min(walkers, agents - 1), traffic=people,
            surface=self.surface, style=self.style,
            seed=seed_of(seed, "free", split, self.roads, self.density, self.traffic) % 2**62,
        )  # fmt: skip
        # Whoever starts just before a stop line starts so slow that it can stop there.
        way = world.observe()[:, 0, 22]
        s = world.state
        s.speed_mps[:, 0] = np.minimum(s.speed_mps[:, 0], np.sqrt(2 * 2.5 * np.maximum(way - 5.0, 0.0)))
        # Before the road's end by a body and the way of a step, so that nobody is off the road when it is there.
        goal = np.minimum(lawful_way_m(world, self.seconds / 2), lawful_way_m(world, 1e6) - s.length_m[:, 0] - _STEP_M)
        variants: tuple[Variant, ...] = tuple({"map": roads[k % len(roads)]} for k in range(self.worlds))
        return Stage(world, self.seconds, np.maximum(goal, 1.0).astype(np.float32), variants)

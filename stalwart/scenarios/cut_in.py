"""Somebody changes into one's lane just ahead."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import Cue, column, eased, follow
from stalwart.drive.scenarios.acting import gap_m as gap_m_to
from stalwart.drive.scenarios.regulation import Intrusion
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds


@component
class cut_in:
    """On a motorway a slower car moves over from the left lane, when it is a gap ahead.

    As in `eu_cut_in`, each drive tells the time to collision at the intrusion and whether it is to be survived.
    """

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (80.0, 110.0)
    """One's own speed at the start."""
    slower_kmh: tuple[Annotated[float, between(0, 150)], ...] = (5.0, 20.0, 40.0)
    """How much slower the other is."""
    gap_m: tuple[Annotated[float, between(1, 200)], ...] = (12.0, 25.0, 45.0)
    """From bumper to bumper when it begins to move over."""
    over_s: Annotated[float, between(1, 10)] = 3.0
    """How long it takes to move over."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "slower_kmh": self.slower_kmh, "gap_m": self.gap_m}
        roads = [f"motorway(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, slower, gap = (column(variants, name) for name in axes)
        speed, slower = speed / 3.6, np.minimum(slower, speed - 10) / 3.6
        for w in range(world.worlds):
            put(world, w, 0, 1, 20.0, speed[w])
            put(world, w, 1, 0, 20.0 + 4.6 + gap[w] + 1.5 * slower[w], speed[w] - slower[w])
        cue, intrusion = Cue(world.worlds), Intrusion(world.worlds)

        def script(world: Worlds, time_s: float) -> Floats:
            intrusion.note(world, gap_m_to(world, 1), time_s)
            since = cue(gap_m_to(world, 1) <= gap, time_s)
            aside = -3.6 * eased(since / self.over_s)
            return follow(world, 1, speed - slower, aside)[:, None]

        return Stage(world, 30.0, np.full(world.worlds, 250.0, np.float32), variants, script, intrusion.facts)

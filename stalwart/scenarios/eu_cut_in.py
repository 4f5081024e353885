"""The EU's table of cut-ins that are to be survived."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.drive.scenarios.acting import Cue, column, follow, gap_m
from stalwart.drive.scenarios.regulation import Intrusion
from stalwart.drive.scenarios.stage import Floats, Stage, map_seeds, put, swept, worlds_of
from stalwart.drive.sensors.styles import StyleName
from stalwart.drive.simulation import Surface, Worlds


@component
class eu_cut_in:
    """A slower car intrudes into one's lane; whether that can be survived is told by Regulation (EU) 2022/1426.

    The time to collision is measured when the other is 0.3 m past the line. A collision is to be avoided where it is
    above the regulation's (`avoidable`), and by UN Regulation 157's careful human driver (`avoidable_by_human`).
    """

    speed_kmh: tuple[Annotated[float, between(5, 200)], ...] = (70.0, 110.0)
    """One's own speed."""
    slower_kmh: tuple[Annotated[float, between(0, 150)], ...] = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
    """How much slower the other is."""
    ttc_s: tuple[Annotated[float, between(0.1, 20)], ...] = (0.6, 0.9, 1.2, 1.6, 2.2)
    """Time to collision aimed at for the intrusion."""
    aside_mps: Annotated[float, between(0.3, 3)] = 1.2
    """How fast the other moves over."""
    draws: Annotated[int, at_least(0)] = 0
    """So many points drawn between the extremes, in place of all combinations."""
    maps: Annotated[int, at_least(1)] = 1
    """Maps on which each is played."""
    style: StyleName = "sun"
    """Weather and light, for drivers with cameras."""
    surface: Surface = "dry"
    """Of the road, for the friction: how hard anybody can brake, steer and pull away."""

    def stage(self, split: str, seed: int) -> Stage:
        axes = {"speed_kmh": self.speed_kmh, "slower_kmh": self.slower_kmh, "ttc_s": self.ttc_s}
        roads = [f"motorway(seed={k})" for k in map_seeds(split, self.maps)]
        world, variants = worlds_of(
            roads, swept(axes, self.draws, seed), seed, actors=1, style=self.style, surface=self.surface
        )
        speed, slower, ttc = (column(variants, name) for name in axes)
        speed, slower = speed / 3.6, slower / 3.6
        # From its lane's middle to 0.3 m past the line takes so long, with about a second until it is under way.
        before_s = (1.8 - 1.85 / 2 + 0.3) / self.aside_mps + 0.95
        gap = slower * (ttc + before_s)
        for w in range(world.worlds):
            put(world, w, 0, 1, 10.0, speed[w])
            put(world, w, 1, 0, 10.0 + 4.6 + gap[w] + slower[w], speed[w] - slower[w])
        cue, intrusion = Cue(world.worlds), Intrusion(world.worlds)

        def script(world: Worlds, time_s: float) -> Floats:
            intrusion.note(world, gap_m(world, 1), time_s)
            since = cue(gap_m(world, 1) <= gap, time_s)
            aside = -np.clip(self.aside_mps * since, 0.0, 3.6)
            return follow(world, 1, speed - slower, aside)[:, None]

        return Stage(world, 15.0, np.full(world.worlds, 120.0, np.float32), variants, script, intrusion.facts)

"""Lessons for a driver through sensors: worlds of many maps, what it senses there, and what an expert knows and does.

The student is at the wheel and the expert says what would have been right, as DAgger has it (Ross, Gordon and Bagnell,
"A reduction of imitation learning and structured prediction to no-regret online learning", AISTATS 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core.rng import seed_of
from stalwart.drive.birdseye import Grid, Truth, truth
from stalwart.drive.dressing import Dressed
from stalwart.drive.observation import PATH_M
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.routes import route_ahead
from stalwart.drive.sensing import Rig, Sensed, joined
from stalwart.drive.simulation import Worlds, make
from stalwart.drive.traffic.drivers import POPULATIONS

FAMILIES: dict[str, tuple[str, int, int]] = {
    "motorway": ("motorway(seed={})", 30, 0),
    "rural": ("rural(seed={})", 20, 0),
    "crossroads": ("crossroads(seed={})", 18, 4),
    "roundabout": ("roundabout(seed={})", 13, 0),
    "town": ("town(seed={}, blocks=2)", 34, 4),
}
"""Each family's maps, bodies in a world, walkers among them."""
SEEDS = {"train": range(900), "val": range(900, 1000), "test": range(1000, 1100)}
"""Seeds of each split's maps; those of `scenarios.stage` lie within the split of the same name."""
STYLES = ("sun", "cloud", "night", "rain", "snow")
"""Weathers of the lessons; dusk and fog are never seen in them."""
_ASTRAY_TICKS, _LONGEST_S = 8, 45.0


@dataclass(frozen=True, eq=False)
class Answers:
    """What would have been right in one step, of W worlds; see `birdseye.Truth`."""

    drivable: Tensor
    """(W, R, C) float32, 0 or 1."""
    agents: Tensor
    route: Tensor
    velocity: Tensor
    """(W, 2, R, C)"""
    signal: Tensor
    """(W,) int64"""
    line_m: Tensor
    waypoints: Tensor
    """(W, 5, 2) where the route truly is, 0, 5, 10, 20 and 40 m ahead."""
    controls: Tensor
    """(W, 2) what the expert would have done."""


class Lessons:
    """Worlds of all families side by side; in each, somebody begins anew who has crashed, arrived, been off the road
    for most of a second, or driven for 45 s.

    Args:
        worlds: of each family.
        seed: of the maps, the traffic and the weathers.
        styles: half of the worlds have the first, the others one of the others; one style is for all.
        maps: of each family; worlds take them in turn.
    """

    def __init__(
        self, rig: Rig, worlds: int, seed: int, *, split: str = "train", styles: Sequence[str] = STYLES, maps: int = 2,
        families: Sequence[str] = tuple(FAMILIES), grid: Grid | None = None,
    ) -> None:  # fmt: skip
        self.rig, self.grid = rig, grid or Grid()
        random = np.random.default_rng(seed_of(seed, "lessons", split))
        self.worlds: list[Worlds] = []
        for family in families:
            spelled, agents, walkers = FAMILIES[family]
            drawn = random.choice(len(SEEDS[split]), min(maps, worlds), replace=False)
            roads = [spelled.format(SEEDS[split][int(k)]) for k in drawn]
            people = POPULATIONS[str(random.choice(["normal", "mixed", "mixed", "aggressive"]))]
            rest = styles[1:] or styles
            worn = [styles[0] if random.random() < 0.5 else str(random.choice(rest)) for _ in range(worlds)]
            self.worlds.append(
                make(
                    roads,
                    worlds,
                    agents=agents,
                    walkers=walkers,
                    traffic=people,
                    style=worn,
                    seed=seed_of(seed, "lessons", split, family) >> 2,
                )
            )
        self.dressed = [Dressed(world) for world in self.worlds]
        self.experts = [Baseline(world, "expert") for world in self.worlds]
        self.count = worlds * len(self.worlds)
        self._astray = np.zeros(self.count, np.int64)
        self._ticks = np.zeros(self.count, np.int64)

    def sense(self) -> tuple[Sensed, Answers]:
        """What is sensed now, and what is right."""
        read = [self.rig.read(world, dressed)[0] for world, dressed in zip(self.worlds, self.dressed, strict=True)]
        found = [answers(world, expert, self.grid) for world, expert in zip(self.worlds, self.experts, strict=True)]
        return joined(read), Answers(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def step(self, controls: NDArray[np.float32]) -> NDArray[np.bool_]:
        """A tick on under (W, 2) controls; (W,) which worlds have begun anew."""
        over = np.zeros(self.count, np.bool_)
        astray = np.zeros(self.count, np.bool_)
        first = 0
        for world in self.worlds:
            part = slice(first, first + world.worlds)
            outcome = world.step(controls[part, None])
            over[part] = outcome.hit[:, 0] | outcome.arrived[:, 0]
            astray[part] = outcome.off_road[:, 0]
            first += world.worlds
        self._astray = np.where(astray, self._astray + 1, 0)
        self._ticks += 1
        over |= (self._astray > _ASTRAY_TICKS) | (self._ticks > _LONGEST_S * 10)
        self._astray[over], self._ticks[over] = 0, 0
        first = 0
        for world, expert in zip(self.worlds, self.experts, strict=True):
            mine = over[first : first + world.worlds]
            if mine.any():
                world.reset(mine)
                expert.reset(mine)
            first += world.worlds
        return over


def answers(world: Worlds, expert: Baseline, grid: Grid) -> tuple[Tensor, ...]:
    """The fields of `Answers` for the first driver of each world."""
    found: Truth = truth(world, grid)
    s = world.state
    points = route_ahead(world.tables, s.floats, s.ints, s.route, np.tile(PATH_M, (world.worlds, 1)))[..., :2]
    floats = (found.drivable, found.agents, found.route, found.velocity)
    return (
        *(torch.from_numpy(part.astype(np.float32)) for part in floats), torch.from_numpy(found.signal),
        torch.from_numpy(found.line_m), torch.from_numpy(np.ascontiguousarray(points)),
        torch.from_numpy(expert()[:, 0].copy()),
    )  # fmt: skip

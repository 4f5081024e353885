"""A town: a grid of streets and avenues, crossings, signals and signs, parked cars, houses and billboards."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import seed_of
from stalwart.drive.geometry.curves import CentreLine, Doubles, Pose, line
from stalwart.drive.geometry.furnish import furnish
from stalwart.drive.geometry.junctions import junction
from stalwart.drive.geometry.lanes import Control, RoadMap
from stalwart.drive.geometry.network import PARKING_M, Arm, Draft, Street

_LANE_M = 3.3
_CORNER_M = 9.0
"""From the edge of the wider street to the stop line."""


@component
class town:
    """A grid of `blocks` × `blocks`, its corners moved by up to 8 m; some ways are avenues with two lanes each way.

    Inner junctions have signals, an all-way stop, or a major road that others stop for or yield to; no way ends, so
    traffic goes round for ever.
    """

    seed: Annotated[int, at_least(0)] = 0
    """Which of the towns."""
    blocks: Annotated[int, between(1, 12)] = 3
    """Blocks along each side."""
    signals: Annotated[float, between(0, 1)] = 0.5
    """Share of the junctions that have signals."""

    def build(self) -> RoadMap:
        random = np.random.default_rng(seed_of(self.seed, "town"))
        n = self.blocks + 1
        avenue = [[random.random() < 0.3 for _ in range(n)] for _ in range(2)]  # by row, by column
        spacing = [np.cumsum([0, *random.uniform(88, 125, n - 1)]) for _ in range(2)]
        at = np.stack(np.meshgrid(*spacing), -1) + random.uniform(-8, 8, (n, n, 2))  # (row, column, xy)
        draft = Draft()
        arms: dict[tuple[int, int], list[Arm]] = {(i, j): [] for i in range(n) for j in range(n)}
        streets: list[Street] = []
        for i in range(n):
            for j in range(n):
                for di, dj in ((0, 1), (1, 0)):
                    if i + di >= n or j + dj >= n:
                        continue
                    wide = avenue[0][i] if dj else avenue[1][j]
                    street = self._street(draft, at[i, j], at[i + di, j + dj], _reach(avenue, i, j),
                                          _reach(avenue, i + di, j + dj), wide, major=bool(dj))  # fmt: skip
                    streets.append(street)
                    arms[i, j].append(street.start)
                    arms[i + di, j + dj].append(street.end)
        for here in arms.values():
            draw, sign = random.random(), random.integers(0, 3)
            control = (
                Control.SIGNAL if draw < self.signals else (Control.STOP, Control.YIELD, Control.ALL_WAY_STOP)[sign]
            )
            junction(draft, here, control, 11.0)
        roads = draft.finish(f"town(seed={self.seed})")
        return furnish(roads, streets, random, houses=0.8, billboards=0.6, trees=1.0, parked=0.55)

    def _street(
        self, draft: Draft, start: Doubles, end: Doubles, near_m: float, far_m: float, wide: bool, *, major: bool
    ) -> Street:
        dx, dy = map(float, end - start)
        yaw, length = math.atan2(dy, dx), math.hypot(dx, dy)
        pose = Pose(float(start[0]), float(start[1]), yaw).ahead(near_m)
        lanes, limit = (2, 13.9) if wide else (1, 11.1)
        reference = CentreLine(pose, (line(length - near_m - far_m),))
        return draft.street(reference, lanes, lanes, _LANE_M, limit, sidewalk=True, parking=not wide, major=major)


def _reach(avenue: list[list[bool]], row: int, column: int) -> float:
    """From a junction's middle to its stop lines."""
    return _CORNER_M + (2 * _LANE_M if avenue[0][row] or avenue[1][column] else _LANE_M + PARKING_M)

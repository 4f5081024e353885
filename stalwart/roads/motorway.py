"""A motorway with an entry, a lane that ends, and an exit."""

from __future__ import annotations

import itertools
from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import seed_of
from stalwart.drive.geometry.curves import CentreLine, Piece, Pose, fit, joined, line
from stalwart.drive.geometry.furnish import furnish
from stalwart.drive.geometry.lanes import Box, Lane, Marking, RoadMap
from stalwart.drive.geometry.network import Arm, Draft, Street
from stalwart.drive.scene import Class

_LANE_M = 3.6
_MEDIAN_M = 3.0


@component
class motorway:
    """Two carriageways. Each has an entry whose lane must merge, further on its rightmost lane ends, then an exit."""

    seed: Annotated[int, at_least(0)] = 0
    """Which of them: its bend and where ramps and the lane's end lie."""
    lanes: Annotated[int, between(2, 5)] = 3
    """Lanes each way, before one ends."""

    def build(self) -> RoadMap:
        random = np.random.default_rng(seed_of(self.seed, "motorway"))
        k = float(random.choice([-1, 1]) / random.uniform(600, 1400))
        pieces = (
            line(300.0),
            Piece(150, 0, k),
            Piece(float(random.uniform(300, 500)), k, k),
            Piece(150, k, 0),
            line(700.0),
        )
        reference = CentreLine(Pose(0.0, 0.0, 0.0), pieces)
        draft = Draft()
        for way in (reference, reference.reversed()):
            self._carriageway(draft, way, random)
        for s in np.arange(6.0, reference.length_m, 12.0):
            pose = reference.pose(float(s))
            draft.boxes.append(Box(Class.BARRIER, pose.x_m, pose.y_m, pose.yaw_rad, 12.0, 0.3, 0.8))
        roads = draft.finish(f"motorway(seed={self.seed}, lanes={self.lanes})")
        edge = _MEDIAN_M / 2 + (self.lanes + 1) * _LANE_M + 6.0
        nobody = Arm(reference.start, [], [], edge, edge)
        beside = Street(reference, nobody, nobody, parking=False, sidewalk=False)
        return furnish(roads, [beside], random, billboards=0.15, trees=3.0)

    def _carriageway(self, draft: Draft, way: CentreLine, random: np.random.Generator) -> None:
        n = self.lanes
        lengths = random.uniform(0.85, 1.15, 5) * (260, 260, 300, 220, 200)
        cuts = [0.0, *map(float, np.cumsum(lengths)), way.length_m]
        before: list[int] = []
        for part, (start, end) in enumerate(itertools.pairwise(cuts)):
            section = way.section(start, end)
            count = n if part < 3 else n - 1
            here = [self._lane(draft, section.offset(_side(k))) for k in range(count)]
            for a, b in zip(before, here, strict=False):
                draft.link(a, b)
            across = list(here)
            if part == 1:  # the entry's lane: beside the others, and it ends
                aside = section.offset(_side(n))
                across.append(self._lane(draft, aside))
                away = aside.start.ahead(-230.0, -30.0, 0.22)
                ramp = self._lane(draft, CentreLine(away, (fit(away, aside.start),)), limit_mps=25.0)
                draft.link(ramp, across[-1])
            if part == 4:  # the exit's lane swings out of the rightmost one
                length = section.length_m
                out = section.section(0, 90.0).offset(_side(count), start_m=_LANE_M)
                along = section.section(90.0, length).offset(_side(count))
                leaving = self._lane(draft, joined([out, along]))
                draft.link(before[count - 1], leaving)
                far = along.end.ahead(230.0, -30.0, -0.22)
                ramp = self._lane(draft, CentreLine(along.end, (fit(along.end, far),)), limit_mps=25.0)
                draft.link(leaving, ramp)
            draft.beside(across)
            draft.change(across[0], left_marking=Marking.SOLID)
            draft.change(across[-1], right_marking=Marking.SOLID, shoulder_m=1.9)
            if part == 4:
                draft.change(here[-1], right_marking=Marking.DASHED)
            before = here

    def _lane(self, draft: Draft, at: CentreLine, limit_mps: float = 33.3) -> int:
        return draft.add(Lane(at, _LANE_M, limit_mps))


def _side(k: int) -> float:
    """Offset of the k-th lane from the reference line, which runs in the median."""
    return -(_MEDIAN_M / 2 + (k + 0.5) * _LANE_M)

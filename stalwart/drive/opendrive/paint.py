"""What lanes look like from above: shoulders, sidewalks and parking beside them, and the marks between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stalwart.drive.geometry.lanes import Area, Stripe
from stalwart.drive.opendrive.lanes import DRIVEN, WALKED, Cells
from stalwart.drive.opendrive.records import Doubles, Mark, RoadRecord, Section
from stalwart.drive.scene import Class

_DASH_M, _GAP_M, _APART_M = 3.0, 6.0, 0.18
_BESIDE = {
    **dict.fromkeys(WALKED, Class.SIDEWALK), "shoulder": Class.SHOULDER, "border": Class.SHOULDER,
    "stop": Class.SHOULDER, "parking": Class.PARKING, "biking": Class.SHOULDER, "curb": Class.SHOULDER,
    "median": Class.TERRAIN, "bidirectional": Class.ROAD, "restricted": Class.SHOULDER,
}  # fmt: skip


def ground(cells: Cells) -> Iterator[Area]:
    """What lies beside the driven lanes, by type of lane."""
    for road in cells.network.roads.values():
        for section in road.sections:
            for number, lane in section.lanes.items():
                kind = _BESIDE.get(lane.kind)
                if number and kind is not None and cells.width(road, section, number) > 0.05:
                    inner = _edge(cells, road, section, number - (1 if number > 0 else -1))
                    outer = _edge(cells, road, section, number)
                    if kind == Class.TERRAIN:
                        continue  # which it is already
                    yield Area(kind, np.concatenate([inner, outer[::-1]]))
                elif number and kind is None and lane.kind not in DRIVEN and lane.kind != "none":
                    cells.network.unread[f"lane of type {lane.kind[:20]!r}"] += 1


def _edge(cells: Cells, road: RoadRecord, section: Section, number: int, aside_m: float = 0.0) -> Doubles:
    return _along(cells, road, section, number, section.start_m, section.end_m, aside_m)


def _along(
    cells: Cells, road: RoadRecord, section: Section, number: int, start_m: float, end_m: float, aside_m: float
) -> Doubles:
    s = np.linspace(start_m, end_m, max(int((end_m - start_m) / 2.0), 1) + 1)
    away = cells.border(road, section, number, s)[0] + aside_m
    at = cells.lines[road.name].at(s)
    return np.stack([at[:, 0] - away * np.sin(at[:, 2]), at[:, 1] + away * np.cos(at[:, 2])], 1)


def stripes(cells: Cells) -> Iterator[Stripe]:
    """Paint: solid, broken and double lines, white or yellow; within junctions none."""
    for road in cells.network.roads.values():
        if road.junction != "-1":
            continue
        for section in road.sections:
            for number, lane in section.lanes.items():
                for k, mark in enumerate(lane.marks):
                    start = section.start_m + max(mark.start_m, 0.0)
                    end = section.start_m + lane.marks[k + 1].start_m if k + 1 < len(lane.marks) else section.end_m
                    for band in _mark(cells, road, section, number, mark, start, min(end, section.end_m)):
                        yield Stripe(Class.YELLOW_LINE if mark.yellow else Class.LINE, band)


def _mark(
    cells: Cells, road: RoadRecord, section: Section, number: int, mark: Mark, start_m: float, end_m: float
) -> Iterator[Doubles]:
    parts = mark.kind.split(" ")
    known = [part for part in parts if part in ("solid", "broken")]
    if not known:
        return
    sides = (0.0,) if len(known) == 1 else (-_APART_M, _APART_M)
    for side, part in zip(sides, known, strict=False):
        length = end_m - start_m if part == "solid" else _DASH_M
        at = start_m if part == "solid" else start_m + 1.0
        while at < end_m - 0.05 and length > 0:
            stop = min(at + length, end_m)
            yield _along(cells, road, section, number, at, stop, side)
            at += length + _GAP_M

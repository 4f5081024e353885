"""From records to lanes: cells (a lane of one section, one way) are linked, joined to strands, and fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stalwart.drive.geometry.curves import wrap
from stalwart.drive.opendrive.planview import ReferenceLine
from stalwart.drive.opendrive.records import (
    Connection,
    Cubic,
    Doubles,
    LaneRecord,
    Network,
    RoadRecord,
    Section,
    value_and_slope,
)

DRIVEN = ("driving", "entry", "exit", "onRamp", "offRamp", "connectingRamp", "slipLane")
WALKED = ("sidewalk", "walking")
DEFAULT_MPS = 13.9
STEP_M = 4.0
"""Between knots where a road bends or a width changes."""


@dataclass(frozen=True)
class Cell:
    """A lane of one section, driven or walked along the road (`forward`) or against it."""

    road: str
    section: int
    lane: int
    forward: bool


class Cells:
    """All cells of a network, what leads to what, and where they lie."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.lines = {name: ReferenceLine(road.line) for name, road in network.roads.items()}
        self.bad_links = 0
        self._incoming: dict[tuple[str, str], list[tuple[str, bool, tuple[tuple[int, int], ...]]]] = {}
        for junction in network.junctions.values():
            for c in junction.connections:
                for start, end, at_start, pairs in self._ways(junction.name, c):
                    self._incoming.setdefault((junction.name, start), []).append((end, at_start, pairs))
        self.after = {cell: [c for c in self._following(cell) if c != cell] for cell in self._all()}
        self.before: dict[Cell, list[Cell]] = {cell: [] for cell in self.after}
        for cell, others in self.after.items():
            for other in others:
                self.before[other].append(cell)

    def _ways(self, junction: str, c: Connection) -> Iterator[tuple[str, str, bool, tuple[tuple[int, int], ...]]]:
        """(road, the road it leads to, whether to its start, pairs of lanes); direct ones are driven both ways."""
        if not c.direct:
            yield c.incoming, c.connecting, c.at_start, c.lanes
            return
        road = self.network.roads.get(c.incoming)
        touches = road.before if road is not None else None
        at_start = touches is not None and touches.junction and touches.name == junction
        for start, end in c.lanes:
            if (start < 0) != at_start:
                yield c.incoming, c.connecting, c.at_start, ((start, end),)
            else:
                yield c.connecting, c.incoming, at_start, ((end, start),)

    def _all(self) -> list[Cell]:
        found = []
        for name, road in self.network.roads.items():
            for k, section in enumerate(road.sections):
                for number, lane in section.lanes.items():
                    if number and lane.kind in DRIVEN:
                        found.append(Cell(name, k, number, number < 0))
                    elif number and lane.kind in WALKED and self.width(road, section, number) > 0.5:
                        found += [Cell(name, k, number, True), Cell(name, k, number, False)]
        return found

    def record(self, cell: Cell) -> LaneRecord:
        return self.network.roads[cell.road].sections[cell.section].lanes[cell.lane]

    def walked(self, cell: Cell) -> bool:
        return self.record(cell).kind in WALKED

    @staticmethod
    def width(road: RoadRecord, section: Section, number: int) -> float:
        """In the section's middle."""
        middle = np.array([(section.end_m - section.start_m) / 2])
        return float(value_and_slope(section.lanes[number].widths, middle)[0][0])

    @cached_property
    def _known(self) -> set[Cell]:
        return set(self._all())

    def _following(self, cell: Cell) -> list[Cell]:
        """Cells that this one leads to, in its section's neighbour, the next road, or through a junction."""
        road = self.network.roads[cell.road]
        lane = self.record(cell)
        number = lane.after if cell.forward else lane.before
        other = cell.section + (1 if cell.forward else -1)
        if 0 <= other < len(road.sections):
            return self._kept([(cell.road, other, number, cell.forward)], cell)
        link = road.after if cell.forward else road.before
        if link is None:
            return []
        if not link.junction:
            return self._kept([self._end(link.name, link.at_start, number)], cell)
        ways = [
            self._end(connecting, at_start, to)
            for connecting, at_start, lanes in self._incoming.get((link.name, cell.road), [])
            for start, to in lanes
            if start == cell.lane
        ]
        return self._kept(ways, cell)

    def _end(self, name: str, at_start: bool, number: int | None) -> tuple[str, int, int | None, bool]:
        sections = self.network.roads[name].sections if name in self.network.roads else ()
        return name, 0 if at_start else len(sections) - 1, number, at_start

    def _kept(self, ways: list[tuple[str, int, int | None, bool]], cell: Cell) -> list[Cell]:
        found = []
        for name, section, number, forward in ways:
            if number is None:
                continue
            there = Cell(name, section, number, forward)
            if there in self._known and self.walked(there) == self.walked(cell):
                if there not in found:
                    found.append(there)
            elif not self.walked(cell) and (name not in self.network.roads or self._driven(name, section, number)):
                self.bad_links += 1  # no such road, or a lane that leads the other way
        return found

    def _driven(self, name: str, section: int, number: int) -> bool:
        sections = self.network.roads[name].sections
        lane = sections[section].lanes.get(number) if 0 <= section < len(sections) else None
        return lane is None or lane.kind in DRIVEN

    # ------------------------------------------------------------ where they lie

    def border(self, road: RoadRecord, section: Section, number: int, s_m: Doubles) -> tuple[Doubles, Doubles]:
        """Distance to the left of the reference line, and its slope, of a lane's outer border; of lane 0 the middle."""
        away, slope = value_and_slope(road.offset, s_m)
        side = 1 if number > 0 else -1
        for k in range(1, abs(number) + 1):
            if side * k in section.lanes:
                width, more = value_and_slope(section.lanes[side * k].widths, s_m - section.start_m)
                away, slope = away + side * width, slope + side * more
        return away, slope

    def knots(self, cell: Cell) -> Doubles:
        """Places along the road, from the section's start to its end."""
        road = self.network.roads[cell.road]
        section = road.sections[cell.section]
        cubics: list[Cubic] = [*road.offset]
        side = 1 if cell.lane > 0 else -1
        for k in range(1, abs(cell.lane) + 1):
            cubics += section.lanes[side * k].widths if side * k in section.lanes else ()
        bends = any(c.b or c.c or c.d for c in cubics) or len(road.offset) > 1
        line = self.lines[cell.road]
        cuts = line.knots(section.start_m, section.end_m, STEP_M)
        if bends:
            even = np.linspace(
                section.start_m, section.end_m, max(math.ceil((section.end_m - section.start_m) / STEP_M), 1) + 1
            )
            cuts = np.unique(np.concatenate([cuts, even]))
            cuts = cuts[np.concatenate([[True], np.diff(cuts) > 0.3])]
            cuts[-1] = section.end_m
        return cuts

    def course(self, cell: Cell) -> tuple[Doubles, Doubles]:
        """(n, 3) x, y and yaw along a cell's middle in its own direction, and its widths there."""
        road = self.network.roads[cell.road]
        section = road.sections[cell.section]
        s = self.knots(cell)
        inner, inner_slope = self.border(road, section, cell.lane - (1 if cell.lane > 0 else -1), s)
        outer, outer_slope = self.border(road, section, cell.lane, s)
        share = 0.5
        if self.walked(cell):  # two ways side by side, each on its right
            share = 0.75 if (cell.lane < 0) == cell.forward else 0.25
        away, slope = inner + share * (outer - inner), inner_slope + share * (outer_slope - inner_slope)
        at = self.lines[cell.road].at(s)
        x, y = at[:, 0] - away * np.sin(at[:, 2]), at[:, 1] + away * np.cos(at[:, 2])
        yaw = at[:, 2] + np.arctan2(slope, np.maximum(1 - at[:, 3] * away, 0.05))
        poses, widths = np.stack([x, y, yaw], 1), np.abs(outer - inner)
        if not cell.forward:
            poses, widths = poses[::-1] + np.array([0, 0, math.pi]), widths[::-1]
        return poses, widths

    def limit(self, cell: Cell) -> float:
        """m/s."""
        if self.walked(cell):
            return 1.4
        own = self.record(cell).limit_mps
        if own is not None:
            return own
        road = self.network.roads[cell.road]
        section = road.sections[cell.section]
        passed = [limit for start, limit in road.limits if start <= (section.start_m + section.end_m) / 2]
        return passed[-1] if passed else DEFAULT_MPS

    def may_change(self, cell: Cell, left: bool) -> bool:
        """Whether the mark on that side may be crossed, for most of the section."""
        section = self.network.roads[cell.road].sections[cell.section]
        inner = cell.lane - (1 if cell.lane > 0 else -1)  # towards the road's middle, which lies on a driver's left
        marks = (
            section.lanes[inner if left else cell.lane].marks if (inner if left else cell.lane) in section.lanes else ()
        )
        rising = (cell.lane < 0) == left  # crossing it the lane's number grows
        allowed = 0.0
        for k, mark in enumerate(marks):
            end = marks[k + 1].start_m if k + 1 < len(marks) else section.end_m - section.start_m
            allowed += (end - mark.start_m) * (mark.change in ("both", "increase" if rising else "decrease"))
        return not marks or allowed > (section.end_m - section.start_m) / 2


def strands(cells: Cells) -> list[list[list[Cell]]]:
    """Chains of cells that are one lane each, by groups of lanes side by side, from the middle of the road outwards.

    Sections and roads follow each other in a chain as long as the same lanes go on, without another way in or out.
    """
    sides: dict[tuple[str, int, bool, int], list[Cell]] = {}
    for cell in cells.after:
        walk = cell.lane if cells.walked(cell) else 0  # walking lanes by themselves
        sides.setdefault((cell.road, cell.section, cell.forward, walk), []).append(cell)
    groups: list[tuple[Cell, ...]] = []
    for side in sides.values():
        ordered = sorted(side, key=lambda cell: abs(cell.lane))
        run = [ordered[0]]
        for cell in ordered[1:]:
            if abs(cell.lane) - abs(run[-1].lane) != 1:
                groups.append(tuple(run))
                run = []
            run.append(cell)
        groups.append(tuple(run))
    of_cell = {cell: group for group in groups for cell in group}

    def next_of(group: tuple[Cell, ...]) -> tuple[Cell, ...] | None:
        if any(len(cells.after[cell]) != 1 for cell in group):
            return None
        other = tuple(cells.after[cell][0] for cell in group)
        if of_cell[other[0]] != other or any(len(cells.before[cell]) != 1 for cell in other):
            return None
        roads = cells.network.roads
        alike = all(
            abs(cells.limit(a) - cells.limit(b)) < 0.1
            and cells.may_change(a, True) == cells.may_change(b, True)
            and cells.may_change(a, False) == cells.may_change(b, False)
            for a, b in zip(group, other, strict=True)
        )
        return other if alike and roads[group[0].road].junction == roads[other[0].road].junction else None

    following = {group: next_of(group) for group in groups}
    led = {group for group in following.values() if group is not None}
    found, seen = [], set()
    for first in [*(g for g in groups if g not in led), *groups]:  # those that begin a chain, then closed rings
        if first in seen:
            continue
        chain, here = [], first
        while here not in seen:
            seen.add(here)
            chain.append(here)
            after = following[here]
            if after is None:
                break
            here = after
        found.append([[group[k] for group in chain] for k in range(len(first))])
    return found


def smooth(parts: list[tuple[Doubles, Doubles]]) -> tuple[Doubles, Doubles]:
    """One course of several that follow each other; places nearer than 5 cm to the one before are passed over."""
    poses, widths = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    keep = [0]
    for k in range(1, len(poses)):
        if math.hypot(*(poses[k, :2] - poses[keep[-1], :2])) > 0.05:
            keep.append(k)
    if keep[-1] != len(poses) - 1 and len(keep) > 1:
        keep[-1] = len(poses) - 1
    return poses[keep], widths[keep]


def apart(a: Doubles, b: Doubles) -> tuple[float, float]:
    """Metres and radians between two poses (3,)."""
    return math.hypot(*(a[:2] - b[:2])), abs(wrap(float(a[2] - b[2])))

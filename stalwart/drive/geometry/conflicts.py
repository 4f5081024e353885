"""Where lanes through a junction meet, and who gives way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from stalwart.drive.geometry.curves import wrap
from stalwart.drive.geometry.lanes import Conflict, Control, Lane, Turn, Use

_STEP_M = 0.5
_APART_M = {Use.DRIVE: 3.1, Use.WALK: 2.0}
"""Centre lines nearer than this conflict: a van's width and a little, or half of it and half a person."""

_RANK = {Control.NONE: 2, Control.SIGNAL: 2, Control.YIELD: 1, Control.STOP: 1, Control.ALL_WAY_STOP: 1}


def find_conflicts(lanes: Sequence[Lane]) -> Iterator[Conflict]:
    """Every pair of lanes of one junction that cross or join, seen from each of the two.

    Lanes that part from each other (same predecessor) or follow each other are no conflict: there cars follow cars.
    """
    before: dict[int, set[int]] = {}
    for index, lane in enumerate(lanes):
        for successor in lane.successors:
            before.setdefault(successor, set()).add(index)
    groups: dict[int, list[int]] = {}
    for index, lane in enumerate(lanes):
        if lane.junction >= 0:
            groups.setdefault(lane.junction, []).append(index)
    for group in groups.values():
        points = {}
        for index in group:
            length = lanes[index].line.length_m
            s = np.linspace(0, length, max(math.ceil(length / _STEP_M), 2) + 1)
            points[index] = s, lanes[index].line.poses(s)[:, :2]
        for a, b in itertools.combinations(group, 2):
            if lanes[a].use == lanes[b].use == Use.WALK:
                continue
            if before.get(a, set()) & before.get(b, set()) or b in lanes[a].successors or a in lanes[b].successors:
                continue
            (sa, pa), (sb, pb) = points[a], points[b]
            apart = min(_APART_M[lanes[a].use], _APART_M[lanes[b].use])
            near = np.hypot(*(pa[:, None] - pb[None]).transpose(2, 0, 1)) < apart
            if not near.any():
                continue
            at, bt = sa[near.any(1)], sb[near.any(0)]
            first, second = _gives_way(lanes[a], lanes[b]), _gives_way(lanes[b], lanes[a])
            ends = float(at[0]), float(at[-1]), float(bt[0]), float(bt[-1])
            yield Conflict(a, b, *ends, first)
            yield Conflict(b, a, ends[2], ends[3], ends[0], ends[1], second)


def _gives_way(mine: Lane, other: Lane) -> bool:
    """Walkers go first; then the major road; then those who go straight or right before those who turn left against
    them; then who comes from the right. At an all-way stop both give way, and who came first goes first.
    """
    if mine.use == Use.WALK or other.use == Use.WALK:
        return mine.use != Use.WALK
    if mine.control == other.control == Control.ALL_WAY_STOP:
        return True
    if _RANK[mine.control] != _RANK[other.control]:
        return _RANK[mine.control] < _RANK[other.control]
    bearing = wrap(other.line.start.yaw_rad - mine.line.start.yaw_rad)
    if abs(bearing) > 3 * math.pi / 4:  # oncoming
        if (mine.turn == Turn.LEFT) != (other.turn == Turn.LEFT):
            return mine.turn == Turn.LEFT
        return mine.turn == Turn.RIGHT  # both to the left, or both not: one must, and the choice does not matter
    if abs(bearing) > math.pi / 4:
        return bearing > 0  # heads to my left, so it comes from my right
    return _starts_left_of(mine, other)  # side by side into one lane: the outer one merges


def _starts_left_of(mine: Lane, other: Lane) -> bool:
    a, b = mine.line.start, other.line.start
    return (b.y_m - a.y_m) * math.cos(a.yaw_rad) - (b.x_m - a.x_m) * math.sin(a.yaw_rad) > 0

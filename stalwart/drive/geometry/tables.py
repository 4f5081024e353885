"""Maps as plain arrays, which kernels read: samples along lanes, links, conflicts, signals, boxes.

Several maps lie in one set of arrays: lanes are numbered through, so a kernel needs no map but for where to spawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.compiled import part, single
from stalwart.drive.geometry.lanes import Lane, RoadMap, Use

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

MOST_LINKS = 6
CAP = 5
"""The samples' column of speeds."""
_SHORTEST_SPAWN_M, _LOW_M = 12.0, 1.8
_FINEST_M, _COARSEST_M, _OFF_M = 1.0, 4.0, 0.005
"""Samples along a lane are 1 to 4 m apart, so that a straight step to halfway between two is at most 5 mm off."""
MOST_TOGETHER = 8
"""Boxes of a group, at most, which are passed over together where nobody is near them."""
_APART_M, _FINE_M = 2.5, 0.25
_ZERO, _LEAST, _HALF, _ONE, _SIX = single(0.0), single(0.3), single(0.5), single(1.0), single(6.0)
_CURVE_MPS2 = 2.0
"""Drivers take bends at this lateral acceleration."""
_EASE_MPS2 = 1.2
"""And slow down to them at this rate."""


class Tables(NamedTuple):
    """L lanes, P samples, C conflicts, S signals; what a lane has of others it names by number, −1 for none.

    Few arrays of many columns: what a kernel is handed costs it time to compile and to call.
    """

    lane_f: Floats
    """(L, 10) step between samples, length, width [m], speed limit [m/s]; from `PARTED` on, for each lane that follows
    its first predecessor too, how far along there a body is out of the way [m]."""
    lane_n: Ints
    """(L, 24) see the columns' names below."""
    samples: Floats
    """(P, 6) x, y, cos and sin of the heading, curvature, speed to drive there at most [m, 1, 1/m, m/s]."""
    conflict_m: Floats
    """(C, 4) start and end along the lane, start and end along the other."""
    conflict_n: Ints
    """(C, 2) the other lane, whether one gives way to it."""
    signal_s: Floats
    """(S, 4) period, start of green, green, yellow."""


class Places(NamedTuple):
    """M maps: where agents come from, and what stands there."""

    map_n: Ints
    """(M, 14) see the columns' names below."""
    spawn_lane: Ints
    """Lanes to spawn on."""
    spawn_upto_m: Floats
    """Their lengths summed up within the map and use."""
    entry_lane: Ints
    box_m: Floats
    """(5, B) x, y, yaw, length, width of what stands; only what is low enough to hit."""
    group_m: Floats
    """(3, G) x, y, radius of a circle around boxes that stand near each other."""
    group_n: Ints
    """(G, 8) which they are, −1 beyond the last."""


STEP_M, LANE_M, BROAD_M, LIMIT_MPS, PARTED = range(5)
FIRST, LAST, USE, LEFT, RIGHT, JUNCTION, CONTROL, SIGNAL, ENDS, CONFLICTS, CONFLICTS_END, FOLLOWING = range(12)
LEADING = FOLLOWING + MOST_LINKS
STOPS = LEADING + MOST_LINKS
"""Columns of `lane_n`: first and last sample; `ENDS`: 1 where the lane stops while one beside it goes on, so that it
must be left; its conflicts from `CONFLICTS` to before `CONFLICTS_END`; 6 successors; 6 predecessors; `STOPS`: 1 where
it or one of the two lanes driven after it, whichever they are, or one beside those, leads through a junction."""
(
    LANES, LANES_END, DRIVES, DRIVES_END, WALKS, WALKS_END, ENTRIES, ENTRIES_END, BOXES, BOXES_END, SIGNALS,
    SIGNALS_END, GROUPS, GROUPS_END,
) = range(14)  # fmt: skip
"""Columns of `map_n`: from where to before where a map's things stand."""


def tables_of(maps: Sequence[RoadMap]) -> tuple[Tables, Places]:
    """The arrays of one or more maps.

    Raises:
        InputError: no maps, or a lane with more than 6 successors or predecessors.
    """
    if not maps:
        raise InputError("tables_of: expected at least one map. Got none.")
    lanes: list[Lane] = []
    offsets = [0]
    samples: list[Floats] = []
    links: list[list[int]] = []
    conflicts: list[list[tuple[int, tuple[float, ...], bool]]] = []
    signals: list[tuple[float, ...]] = []
    signal_of: list[int] = []
    for roads in maps:
        base = len(lanes)
        conflicts += [[] for _ in roads.lanes]
        for lane in roads.lanes:
            samples.append(_samples(lane))
            links.append([base + s for s in lane.successors])
            signal_of.append(lane.signal + len(signals) if lane.signal >= 0 else -1)
        for c in roads.conflicts:
            span = (c.start_m, c.end_m, c.other_start_m, c.other_end_m)
            conflicts[base + c.lane].append((base + c.other, span, c.yields))
        signals += [(s.period_s, s.start_s, s.green_s, s.yellow_s) for s in roads.signals]
        lanes += roads.lanes
        offsets.append(len(lanes))
    home = np.repeat(offsets[:-1], np.diff(offsets))
    before: list[list[int]] = [[] for _ in lanes]
    for index, successors in enumerate(links):
        for successor in successors:
            before[successor].append(index)
    _cap_ahead(samples, links)

    left, right = (
        np.array([k + b if k >= 0 else -1 for k, b in zip(v, home, strict=True)], np.int32)
        for v in ([lane.left for lane in lanes], [lane.right for lane in lanes])
    )
    goes_on = np.array([bool(successors) for successors in links])
    beside = ((left >= 0) & goes_on[left]) | ((right >= 0) & goes_on[right])
    ends = ~goes_on & beside & np.array([lane.use == Use.DRIVE for lane in lanes])
    stops = np.array([lane.junction >= 0 for lane in lanes])
    for _ in range(2):  # a route changes to the lane beside one that ends
        near = stops | ((left >= 0) & stops[left]) | ((right >= 0) & stops[right])
        stops = near | [any(near[k] for k in out) for out in links]
    first, upto = _first(samples), _first(conflicts)
    flat = [c for of_lane in conflicts for c in of_lane]
    columns = (
        first[:-1], first[1:] - 1, [lane.use for lane in lanes], left, right, [lane.junction for lane in lanes],
        [lane.control for lane in lanes], signal_of, ends, upto[:-1], upto[1:],
    )  # fmt: skip
    tables = Tables(
        lane_f=np.array(
            [(a.line.length_m / (len(s) - 1), a.line.length_m, a.width_m, a.limit_mps, *parted)
             for a, s, parted in zip(lanes, samples, _parted(samples, links, before), strict=True)], np.float32,
        ),
        lane_n=np.column_stack([*(np.asarray(c, np.int32) for c in columns), _padded(links), _padded(before), stops]),
        samples=np.concatenate(samples).astype(np.float32),
        conflict_m=np.array([c[1] for c in flat], np.float32).reshape(-1, 4),
        conflict_n=np.array([(c[0], c[2]) for c in flat], np.int32).reshape(-1, 2),
        signal_s=np.array(signals, np.float32).reshape(-1, 4),
    )  # fmt: skip
    return tables, _places(maps, lanes, offsets)


def _samples(lane: Lane) -> Floats:
    length = lane.line.length_m
    bend = np.abs(lane.line.poses(np.linspace(0, length, math.ceil(length) + 1))[:, 3]).max()
    step = min(max(math.sqrt(8 * _OFF_M / max(bend, 1e-6)), _FINEST_M), _COARSEST_M)
    poses = lane.line.poses(np.linspace(0, length, max(math.ceil(length / step), 1) + 1))
    cap = np.minimum(lane.limit_mps, np.sqrt(_CURVE_MPS2 / np.maximum(np.abs(poses[:, 3]), 1e-6)))
    return np.stack([poses[:, 0], poses[:, 1], np.cos(poses[:, 2]), np.sin(poses[:, 2]), poses[:, 3], cap], 1)


def _parted(samples: list[Floats], links: list[list[int]], before: list[list[int]]) -> list[list[float]]:
    """For each lane and each of those that follow its first predecessor: how far along the other comes the last point
    that is nearer than `_APART_M` to the lane; 0 for itself and where there is no other.
    """
    out = [[0.0] * MOST_LINKS for _ in samples]
    for parent, siblings in enumerate(links):
        points = {}
        for k in siblings if len(siblings) > 1 else ():
            x, y = samples[k][:, 0], samples[k][:, 1]
            s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
            fine = np.linspace(0, s[-1], max(math.ceil(s[-1] / _FINE_M), 1) + 1)
            points[k] = fine, np.interp(fine, s, x) + 1j * np.interp(fine, s, y)
        for k in points:
            for column, other in enumerate(siblings[:MOST_LINKS]):
                if other != k and before[k][0] == parent:
                    near = (np.abs(points[other][1][:, None] - points[k][1]) < _APART_M).any(1)
                    out[k][column] = float(points[other][0][np.flatnonzero(near)[-1]])
    return out


def _cap_ahead(samples: list[Floats], links: list[list[int]]) -> None:
    """Lower each lane's speeds so that bends in it, and on every way out of it, are reached by easing off."""
    for _ in range(4):  # as many lanes ahead
        for index, table in enumerate(samples):
            speed = float(table[-1, CAP])
            if links[index]:
                speed = min(speed, max(float(samples[s][0, CAP]) for s in links[index]))
            table[-1, CAP] = speed
            step = math.hypot(*(table[1, :2] - table[0, :2]))
            for k in range(len(table) - 2, -1, -1):
                speed = min(float(table[k, CAP]), math.sqrt(speed * speed + 2 * _EASE_MPS2 * step))
                table[k, CAP] = speed


def _places(maps: Sequence[RoadMap], lanes: list[Lane], offsets: list[int]) -> Places:
    rows: list[list[int]] = []
    lane_of: list[int] = []
    upto: list[float] = []
    entry_of: list[int] = []
    boxes: list[tuple[float, ...]] = []
    groups: list[list[int]] = []
    signals = 0
    for roads, start, end in zip(maps, offsets, offsets[1:], strict=False):
        row = [start, end]
        for use in (Use.DRIVE, Use.WALK):
            row.append(len(lane_of))
            total = 0.0
            for k in range(start, end):
                if lanes[k].use == use and lanes[k].junction < 0 and lanes[k].line.length_m > _SHORTEST_SPAWN_M:
                    total += lanes[k].line.length_m
                    lane_of.append(k)
                    upto.append(total)
            row.append(len(lane_of))
        low = [(b.x_m, b.y_m, b.yaw_rad, b.length_m, b.width_m) for b in roads.boxes if b.z0_m < _LOW_M]
        for found, new in ((entry_of, [k for k in range(start, end) if lanes[k].entry]), (boxes, low)):
            row.append(len(found))
            found += new  # type: ignore[operator]
            row.append(len(found))
        row += [signals, signals + len(roads.signals)]
        signals += len(roads.signals)
        row.append(len(groups))
        groups += _grouped(boxes, list(range(len(boxes) - len(low), len(boxes))))
        row.append(len(groups))
        rows.append(row)
    return Places(
        np.array(rows, np.int32), np.array(lane_of, np.int32), np.array(upto, np.float32), np.array(entry_of, np.int32),
        np.ascontiguousarray(np.array(boxes, np.float32).reshape(-1, 5).T),
        np.ascontiguousarray(np.array([_around(boxes, group) for group in groups], np.float32).reshape(-1, 3).T),
        np.array([group + [-1] * (MOST_TOGETHER - len(group)) for group in groups], np.int32).reshape(
            -1, MOST_TOGETHER
        ),
    )  # fmt: skip


def _grouped(boxes: list[tuple[float, ...]], which: list[int]) -> list[list[int]]:
    """The numbers of boxes in groups of at most `MOST_TOGETHER`, by halving them across their longer extent."""
    if len(which) <= MOST_TOGETHER:
        return [which] if which else []
    at = np.array([boxes[k][:2] for k in which])
    order = np.argsort(at[:, int(np.argmax(np.ptp(at, axis=0)))], kind="stable")
    half = len(which) // 2
    return [g for part in (order[:half], order[half:]) for g in _grouped(boxes, [which[k] for k in part])]


def _around(boxes: list[tuple[float, ...]], group: list[int]) -> tuple[float, float, float]:
    """x, y and radius [m] of a circle around some of the boxes."""
    x, y, _, length, width = np.array([boxes[k] for k in group]).T
    middle_x, middle_y = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    far = np.hypot(x - middle_x, y - middle_y) + np.hypot(length, width) / 2
    return float(middle_x), float(middle_y), float(far.max())


def _first(groups: Sequence[Sequence[object]] | list[Floats]) -> Ints:
    return np.cumsum([0, *(len(group) for group in groups)]).astype(np.int32)


def _padded(links: list[list[int]]) -> Ints:
    out = np.full((len(links), MOST_LINKS), -1, np.int32)
    for index, others in enumerate(links):
        if len(others) > MOST_LINKS:
            raise InputError(
                f"Tables: lane {index} has {len(others)} successors or predecessors, at most {MOST_LINKS}."
            )
        out[index, : len(others)] = others
    return out


@part
def pose_at(t: Tables, lane: int, s_m: float) -> tuple[float, float, float, float, float, float]:
    """x, y, cos and sin of the heading, curvature and the speed to keep at `s_m` along a lane; straight on beyond it.

    From the nearest sample along its circle, to the third order in at most half the way to the next one.
    """
    start, last = t.lane_n[lane, FIRST], t.lane_n[lane, LAST]
    step = t.lane_f[lane, STEP_M]
    k = int(max(s_m / step, _ZERO) + _HALF)
    k = min(k, last - start)
    u = s_m - step * np.float32(k)
    k += start
    curvature = t.samples[k, 4]
    if u > step or u < -step:  # beyond an end
        curvature = _ZERO
    turn = u * curvature
    forward = u * (_ONE - turn * turn / _SIX)
    aside = u * turn * _HALF
    c, s = t.samples[k, 2], t.samples[k, 3]
    flat = _ONE - turn * turn * _HALF
    return (
        t.samples[k, 0] + c * forward - s * aside, t.samples[k, 1] + s * forward + c * aside,
        c * flat - s * turn, s * flat + c * turn,
        t.samples[k, 4], t.samples[k, 5],
    )  # fmt: skip


@part
def project(t: Tables, lane: int, guess_m: float, x_m: float, y_m: float) -> tuple[float, float]:
    """(s, d) of a point, by one step of Newton's method from a guess that is near, such as a step ago's."""
    px, py, c, s, curvature, _ = pose_at(t, lane, guess_m)
    dx, dy = x_m - px, y_m - py
    along = dx * c + dy * s
    left = dy * c - dx * s
    moved = along / max(_ONE - curvature * left, _LEAST)
    # The line bends away from its tangent by κ s² / 2 until the foot of the perpendicular.
    return guess_m + moved, left - curvature * moved * moved * _HALF

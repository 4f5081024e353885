"""Maps as plain arrays, which kernels read: samples along lanes, links, conflicts, signals, boxes.

Several maps lie in one set of arrays: lanes are numbered through, so a kernel needs no map but for where to spawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.compiled import kernel, single
from stalwart.drive.geometry.lanes import Lane, RoadMap, Use

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

MOST_LINKS = 6
_SAMPLE_M = 1.0
_ZERO, _LEAST, _HALF, _ONE, _SIX = single(0.0), single(0.3), single(0.5), single(1.0), single(6.0)
_CURVE_MPS2 = 2.0
"""Drivers take bends at this lateral acceleration."""
_EASE_MPS2 = 1.2
"""And slow down to them at this rate."""


class Tables(NamedTuple):
    """L lanes, P samples, C conflicts, M maps; what a lane has of others it names by number, −1 for none."""

    samples: Floats
    """(P, 6): x, y, cos and sin of the heading, curvature, speed to drive there at most [m, 1, 1/m, m/s]."""
    first: Ints
    """(L + 1,) a lane's first sample; its last is the one before the next lane's first."""
    step_m: Floats
    """(L,) between samples."""
    length_m: Floats
    width_m: Floats
    limit_mps: Floats
    use: NDArray[np.uint8]
    left: Ints
    right: Ints
    following: Ints
    """(L, 6) successors, −1 beyond the last."""
    leading: Ints
    """(L, 6) predecessors."""
    junction: Ints
    control: NDArray[np.uint8]
    signal: Ints
    ends: NDArray[np.bool_]
    """(L,) the lane stops while one beside it goes on: it must be left."""
    conflict_first: Ints
    """(L + 1,) where a lane's conflicts start."""
    conflict_other: Ints
    conflict_m: Floats
    """(C, 4) start and end along the lane, start and end along the other."""
    conflict_yields: NDArray[np.bool_]
    signal_s: Floats
    """(S, 4) period, start of green, green, yellow."""
    lane_first: Ints
    """(M + 1,) each map's first lane."""
    spawn_first: Ints
    """(M + 1, 2) where a map's lanes to spawn on start, for driving and for walking."""
    spawn_lane: Ints
    spawn_upto_m: Floats
    """Their lengths summed up within the map and use."""
    entry_first: Ints
    entry_lane: Ints
    box_first: Ints
    box_m: Floats
    """(B, 5) x, y, yaw, length, width of what stands; only what is low enough to hit."""


X, Y, COS, SIN, CURVATURE, CAP = range(6)


def tables_of(maps: Sequence[RoadMap]) -> Tables:
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
        np.array([n + b if n >= 0 else -1 for n, b in zip(v, home, strict=True)], np.int32)
        for v in ([lane.left for lane in lanes], [lane.right for lane in lanes])
    )
    goes_on = np.array([bool(successors) for successors in links])
    beside = [(n >= 0) & goes_on[n] for n in (left, right)]
    spawn_first, spawn_lane, spawn_upto, entry_first, entry_lane = _spawn(lanes, offsets)
    boxes = [[(b.x_m, b.y_m, b.yaw_rad, b.length_m, b.width_m) for b in roads.boxes if b.z0_m < 1.8] for roads in maps]
    flat = [c for of_lane in conflicts for c in of_lane]
    return Tables(
        samples=np.concatenate(samples).astype(np.float32),
        first=_first(samples),
        step_m=np.array(
            [lane.line.length_m / (len(s) - 1) for lane, s in zip(lanes, samples, strict=True)], np.float32
        ),
        length_m=np.array([lane.line.length_m for lane in lanes], np.float32),
        width_m=np.array([lane.width_m for lane in lanes], np.float32),
        limit_mps=np.array([lane.limit_mps for lane in lanes], np.float32),
        use=np.array([lane.use for lane in lanes], np.uint8),
        left=left,
        right=right,
        following=_padded(links),
        leading=_padded(before),
        junction=np.array([lane.junction for lane in lanes], np.int32),
        control=np.array([lane.control for lane in lanes], np.uint8),
        signal=np.array(signal_of, np.int32),
        ends=~goes_on & (beside[0] | beside[1]) & np.array([lane.use == Use.DRIVE for lane in lanes]),
        conflict_first=_first(conflicts),
        conflict_other=np.array([c[0] for c in flat], np.int32),
        conflict_m=np.array([c[1] for c in flat], np.float32).reshape(-1, 4),
        conflict_yields=np.array([c[2] for c in flat], np.bool_),
        signal_s=np.array(signals, np.float32).reshape(-1, 4),
        lane_first=np.array(offsets, np.int32),
        spawn_first=spawn_first,
        spawn_lane=spawn_lane,
        spawn_upto_m=spawn_upto,
        entry_first=entry_first,
        entry_lane=entry_lane,
        box_first=_first(boxes),
        box_m=np.array([box for of_map in boxes for box in of_map], np.float32).reshape(-1, 5),
    )


def _samples(lane: Lane) -> Floats:
    length = lane.line.length_m
    poses = lane.line.poses(np.linspace(0, length, max(math.ceil(length / _SAMPLE_M), 1) + 1))
    cap = np.minimum(lane.limit_mps, np.sqrt(_CURVE_MPS2 / np.maximum(np.abs(poses[:, 3]), 1e-6)))
    return np.stack([poses[:, 0], poses[:, 1], np.cos(poses[:, 2]), np.sin(poses[:, 2]), poses[:, 3], cap], 1)


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


def _spawn(lanes: list[Lane], offsets: list[int]) -> tuple[Ints, Ints, Floats, Ints, Ints]:
    first: list[list[int]] = []
    lane_of: list[int] = []
    upto: list[float] = []
    entry_first, entry_of = [0], list[int]()
    for start, end in itertools.pairwise(offsets):
        row = []
        for use in (Use.DRIVE, Use.WALK):
            row.append(len(lane_of))
            total = 0.0
            for k in range(start, end):
                if lanes[k].use == use and lanes[k].junction < 0 and lanes[k].line.length_m > 12:
                    total += lanes[k].line.length_m
                    lane_of.append(k)
                    upto.append(total)
        first.append(row)
        entry_of += [k for k in range(start, end) if lanes[k].entry]
        entry_first.append(len(entry_of))
    first.append([len(lane_of), len(lane_of)])
    return (
        np.array(first, np.int32), np.array(lane_of, np.int32), np.array(upto, np.float32),
        np.array(entry_first, np.int32), np.array(entry_of, np.int32),
    )  # fmt: skip


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


@kernel
def pose_at(t: Tables, lane: int, s_m: float) -> tuple[float, float, float, float, float, float]:
    """x, y, cos and sin of the heading, curvature and the speed to keep at `s_m` along a lane; straight on beyond it.

    From the nearest sample along its circle, to the third order in at most half a metre.
    """
    start = t.first[lane]
    last = t.first[lane + 1] - 1
    step = t.step_m[lane]
    k = int(max(s_m / step, _ZERO) + _HALF)
    k = min(k, last - start)
    u = s_m - step * np.float32(k)
    row = t.samples[start + k]
    curvature = row[4]
    if u > step or u < -step:  # beyond an end
        curvature = _ZERO
    turn = u * curvature
    forward = u * (_ONE - turn * turn / _SIX)
    aside = u * turn * _HALF
    c, s = row[2], row[3]
    flat = _ONE - turn * turn * _HALF
    return (
        row[0] + c * forward - s * aside, row[1] + s * forward + c * aside, c * flat - s * turn, s * flat + c * turn,
        row[4], row[5],
    )  # fmt: skip


@kernel
def project(t: Tables, lane: int, guess_m: float, x_m: float, y_m: float) -> tuple[float, float]:
    """(s, d) of a point, by one step of Newton's method from a guess that is near, such as a step ago's."""
    px, py, c, s, curvature, _ = pose_at(t, lane, guess_m)
    dx, dy = x_m - px, y_m - py
    along = dx * c + dy * s
    left = dy * c - dx * s
    moved = along / max(_ONE - curvature * left, _LEAST)
    # The line bends away from its tangent by κ s² / 2 until the foot of the perpendicular.
    return guess_m + moved, left - curvature * moved * moved * _HALF

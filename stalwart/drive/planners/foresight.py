"""What an expert knows of the road ahead: who leads, who is in the way or will cross it, and where to stop.

The rules are those that traffic drives by (`traffic.around`, `traffic.yielding`), so both mean the same by a red
signal, a sign or somebody's priority.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from stalwart.drive.compiled import free_kernel, kernel, single
from stalwart.drive.geometry.tables import LANES, LANES_END, Tables, pose_at
from stalwart.drive.scene import Class
from stalwart.drive.threads import share
from stalwart.drive.traffic.around import (
    BEND,
    COS,
    FAR,
    NOTES,
    SIN,
    WHEELBASE_M,
    Floats,
    hang,
    leader,
    note,
)
from stalwart.drive.traffic.step import clock
from stalwart.drive.traffic.strip import body_ahead
from stalwart.drive.traffic.yielding import way_to_stop
from stalwart.drive.world.contact import overlap
from stalwart.drive.world.state import (
    ACCEL_MPS2,
    AFTER_LANE,
    ALIVE,
    D_M,
    KIND,
    LANE,
    LENGTH_M,
    MAP,
    NEXT_LANE,
    S_M,
    SPEED_MPS,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Ints,
    Words,
)

FORESEEN = (
    LEAD_GAP, LEAD_MPS, NEAR_GAP, NEAR_MPS, STOP_WAY, CROSS_S, LANE_D, LANE_HEADING, LANE_CURVATURE,
) = range(9)  # fmt: skip
"""Columns: gap to and speed of the next one on the lane (a lane's end counts), and of the next body in the way; metres
to where one must stop; seconds until somebody who crosses is met; distance from the own lane's middle, heading against
it and its curvature a moment ahead."""

_ZERO, _HALF, _ONE, _TWO, _TEN = single(0.0), single(0.5), single(1.0), single(2.0), single(10.0)
_SIGHT_M, _LOOK_S, _STEP_S, _MARGIN_M, _STILL = single(200.0), single(0.3), single(0.1), single(0.5), single(0.3)
_PASSES_M, _ASTRAY_M = single(1.2), single(1.0)
_ACROSS, _NEAREST_M = single(0.5), single(100.0)
_STEPS = 26
_WALKER = int(Class.PEDESTRIAN)


def foresee(
    t: Tables, map_n: Ints, floats: Floats, ints: Ints, words: Words, careful: Floats, dt: float, out: Floats
) -> None:
    """Fill (W, E, 9) for the drivers from outside; see `FORESEEN`.

    Args:
        map_n: of `geometry.tables.Places`.
        careful: (N, 14) traits as `traffic.drivers` has them, the same for all who ask.
    """
    share(partial(_foresee, t, map_n, floats, ints, words, careful, dt, out), len(floats))


@free_kernel
def _foresee(
    t: Tables, map_n: Ints, floats: Floats, ints: Ints, words: Words, careful: Floats, dt: float, out: Floats,
    first: int, last: int,
) -> None:  # fmt: skip
    for i in range(first, last):
        _world(t, map_n, floats[i], ints[i], words[i], careful, dt, out[i])


@kernel
def _world(t: Tables, map_n: Ints, f: Floats, n: Ints, z: Words, careful: Floats, dt: float, out: Floats) -> None:
    m, egos, agents = int(z[MAP]), out.shape[0], f.shape[1]
    base = map_n[m, LANES]
    head = np.empty(map_n[m, LANES_END] - base, np.int32)
    link, order = np.empty(agents, np.int32), np.empty(agents, np.int32)
    notes = np.empty((NOTES, agents), np.float32)
    # Not for whom a car in the middle of the lane passes: parked at the kerb, on foot.
    hang(f, n, base, head, link, order, _PASSES_M)
    note(f, n, notes)
    time_s = clock(z, dt)
    for e in range(egos):
        if not n[ALIVE, e]:
            continue
        row, speed, lane, s = out[e], f[SPEED_MPS, e], n[LANE, e], f[S_M, e]
        gap, ahead, _ = leader(t, f, n, e, lane, s, n[NEXT_LANE, e], n[AFTER_LANE, e], _SIGHT_M, base, head, link)
        row[LEAD_GAP], row[LEAD_MPS] = gap, ahead
        bend = notes[BEND, e] / notes[WHEELBASE_M, e]
        gap, ahead = body_ahead(f, n, egos, e, bend, notes)
        row[NEAR_GAP], row[NEAR_MPS] = gap, ahead
        reach = speed * (_TWO + speed * _HALF * _HALF) + _TEN
        row[STOP_WAY] = way_to_stop(t, f, n, careful, e, time_s, reach, base, head, link)
        row[CROSS_S] = _crossed(f, n, e, bend, notes)
        _, _, c, sn, curvature, _ = pose_at(t, lane, s + speed * _LOOK_S)
        row[LANE_D] = f[D_M, e]
        sine, cosine = notes[SIN, e], notes[COS, e]
        row[LANE_HEADING] = math.atan2(sine * c - cosine * sn, cosine * c + sine * sn)
        row[LANE_CURVATURE] = curvature


@kernel
def _crossed(f: Floats, n: Ints, e: int, bend: float, notes: Floats) -> float:
    """Seconds until the driver's box meets, or nearly, that of a walker, of somebody who drives across, or of who comes
    towards it and is out of its lane: itself at its speed on its arc, the other straight on at its acceleration;
    `FAR`: not within 2.5 s.
    """
    v, c, s = f[SPEED_MPS, e], notes[COS, e], notes[SIN, e]
    soonest = FAR
    if v < _STILL:
        return soonest
    for j in range(f.shape[1]):
        if j == e or not n[ALIVE, j] or f[SPEED_MPS, j] < _STILL:
            continue
        across = abs(c * notes[SIN, j] - s * notes[COS, j])
        dx, dy = f[X_M, j] - f[X_M, e], f[Y_M, j] - f[Y_M, e]
        astray = c * notes[COS, j] + s * notes[SIN, j] < -_ACROSS and abs(f[D_M, j]) > _ASTRAY_M
        if n[KIND, j] != _WALKER and across < _ACROSS and not astray:
            continue
        if dx * c + dy * s <= _ZERO or dx * dx + dy * dy > _NEAREST_M * _NEAREST_M:
            continue
        w, a = f[SPEED_MPS, j], f[ACCEL_MPS2, j]
        for k in range(1, _STEPS):
            time: float = np.float32(k) * _STEP_S  # type: ignore[assignment]
            if time >= soonest:
                break
            until = min(time, -w / a) if a < _ZERO else time
            theirs = w * until + _HALF * a * until * until
            mine, half = v * time, _HALF * v * time * bend
            forward, left = mine * (_ONE - half * half * _TWO / np.float32(3.0)), mine * half
            if overlap(
                f[X_M, e] + c * forward - s * left, f[Y_M, e] + s * forward + c * left, f[YAW_RAD, e] + _TWO * half,
                f[LENGTH_M, e] + _MARGIN_M, f[WIDTH_M, e] + _MARGIN_M,
                f[X_M, j] + notes[COS, j] * theirs, f[Y_M, j] + notes[SIN, j] * theirs, f[YAW_RAD, j], f[LENGTH_M, j],
                f[WIDTH_M, j],
            ):  # fmt: skip
                soonest = time
                break
    return soonest

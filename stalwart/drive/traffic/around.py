"""Who is around an agent: on its lanes, and bodily before it.

Each world's agents hang on their lanes as linked lists, from the hindmost on: `head[lane]` is the last of the lane's
agents, `link[agent]` the next one ahead; −1 ends the list. `head` is numbered from the map's first lane, `base`. So a
search ahead ends with the first one that is found, but for long bodies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import Whole, part, single
from stalwart.drive.geometry.tables import ENDS, FOLLOWING, JUNCTION, LANE_M, LEADING, MOST_LINKS, PARTED, Tables
from stalwart.drive.scene import Class
from stalwart.drive.world.angles import cosine_sine, tangent
from stalwart.drive.world.bodies import FIRST_KIND, LIMITS, WHEELBASE
from stalwart.drive.world.state import (
    ALIVE,
    D_M,
    KIND,
    LANE,
    LENGTH_M,
    NEXT_LANE,
    S_M,
    SPEED_MPS,
    STEER_RAD,
    TARGET_D_M,
    WAITED_S,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Ints,
)

FAR = single(1e6)
NOWHERE: Whole = np.int32(-1)
"""No lane. A plain -1 would be a type of its own, for which a kernel is compiled once more."""
FIRST_LANE: Whole = np.int32(0)
_ZERO, _HALF, _ONE, _TWO = single(0.0), single(0.5), single(1.0), single(2.0)
_LONGEST_M, _ONCOMING, _END_SHARE = single(7.0), single(-0.3), single(0.3)
_SQUEEZE_S, _LEAST_MARGIN_M, _KEEPS_M, _TIGHT_M = single(25.0), single(0.1), single(0.7), single(0.2)
_MARGIN_M, _NARROWING, _NEAR_M, _LEAST_MPS = single(0.3), single(0.02), single(4.0), single(1.0)
COS, SIN, BEND, GIRTH_M, WHEELBASE_M, LANE_COS, LANE_SIN, LANE_BEND, LANE_MPS, OFF_RAD = range(10)
NOTES = 10
"""Rows of what is worked out of all agents before the first decides, (10, N) float32: cosine and sine of the heading;
tangent of the steering angle; how far from its middle a body, or a walker within two seconds, may be in another's way,
-`FAR` where nobody is; the wheelbase. Then of the lane where the agent will be shortly: cosine and sine of its heading,
its curvature, the speed to keep there; and the angle from it to the agent's course."""
_SPARE_M = single(0.5)
"""More than any margin beside a body."""
_1, _31 = np.uint32(1), np.uint32(31)
_MANTISSA, _BIAS = np.int32(23), np.int32(127)
"""Of a float32: its mantissa's bits, and what is added to its exponent."""
_WALKER = int(Class.PEDESTRIAN)
Links = NDArray[np.int32]
Floats = NDArray[np.float32]


@part
def note(f: Floats, n: Ints, notes: Floats) -> None:
    """Fill `COS` to `WHEELBASE_M` of all agents. Many short loops: the more rows one touches, the less the compiler can
    tell whether they overlap, and then it goes one by one."""
    for a in range(np.uint64(f.shape[1])):
        notes[COS, a], notes[SIN, a] = cosine_sine(f[YAW_RAD, a])
    for a in range(np.uint64(f.shape[1])):
        notes[BEND, a] = tangent(f[STEER_RAD, a])
    for a in range(np.uint64(f.shape[1])):
        walk = _TWO * f[SPEED_MPS, a] if n[KIND, a] == _WALKER else _ZERO
        girth = _HALF * (f[LENGTH_M, a] + f[WIDTH_M, a]) + _SPARE_M + walk
        notes[GIRTH_M, a] = girth if n[ALIVE, a] != 0 else -FAR
    for a in range(np.uint64(f.shape[1])):
        notes[WHEELBASE_M, a] = LIMITS[n[KIND, a] - FIRST_KIND, WHEELBASE]


@part
def hang(f: Floats, n: Ints, base: int, head: Links, link: Links, order: Links, aside: float) -> None:
    """Hang all agents on their lanes whose near side is less than `aside` [m] from the lane's middle.

    Each counts who is ahead of it, of all agents and eight at a time; that is its place in `order` (N,), scratch.
    """
    head[:] = -1
    order[:] = -1
    for a in range(np.uint64(f.shape[1])):
        s, me, rank = f[S_M, a], np.int32(a), np.int32(0)
        for j in range(np.uint64(f.shape[1])):
            ahead = (f[S_M, j] > s) | ((f[S_M, j] == s) & (np.int32(j) > me))
            rank = np.int32(rank + np.int32(ahead))
        order[rank] = a
    for k in range(order.shape[0]):
        a = order[k]
        if a >= 0 and n[ALIVE, a] and abs(f[D_M, a]) - _HALF * f[WIDTH_M, a] < aside:
            place = n[LANE, a] - base
            link[a] = head[place]
            head[place] = a


@part
def leader(
    t: Tables, f: Floats, n: Ints, a: int, lane: int, s: float, then: int, later: int, reach: float, base: int,
    head: Links, link: Links,
) -> tuple[float, float, int]:  # fmt: skip
    """(gap, speed, agent) of the next one ahead of arc length `s` on a lane and the two after it, within `reach`.

    The gap is from bumper to bumper, at most `FAR`; where nobody is ahead the agent is −1. `a` itself is passed over.
    Where a lane ends that must be left, its end counts as someone who stands.
    """
    offset = -s - _HALF * f[LENGTH_M, a]
    here = lane
    for step in range(3):
        nearest, found = FAR, -1
        j = head[here - base]
        while j >= 0 and offset + f[S_M, j] - _LONGEST_M < nearest:
            if j != a and (step > 0 or f[S_M, j] > s or (f[S_M, j] == s and j > a)):
                gap = offset + f[S_M, j] - _HALF * f[LENGTH_M, j]
                if gap < nearest:
                    nearest, found = gap, j
            j = link[j]
        if t.lane_n[here, JUNCTION] >= 0:  # those who turn off from the same lane, until they are out of the way
            parent = t.lane_n[here, LEADING]
            for m in range(MOST_LINKS):
                beside = t.lane_n[parent, FOLLOWING + m] if parent >= 0 else -1
                if beside < 0:
                    break
                j = head[beside - base] if beside != here else -1
                parted = t.lane_f[here, PARTED + m]
                while j >= 0 and f[S_M, j] - _LONGEST_M < parted:
                    rear = f[S_M, j] - _HALF * f[LENGTH_M, j]
                    ahead = j != a and rear < parted and (step > 0 or f[S_M, j] > s)
                    if ahead and offset + rear < nearest:
                        nearest, found = offset + rear, j
                    j = link[j]
        if found >= 0:
            return nearest, f[SPEED_MPS, found], found
        offset += t.lane_f[here, LANE_M]
        if t.lane_n[here, ENDS]:
            return offset, _ZERO, -1
        here = then if step == 0 else later
        if here < 0 or offset > reach:
            break
    return FAR, _ZERO, -1


@part
def follower(
    t: Tables, f: Floats, n: Ints, a: int, lane: int, s: float, base: int, head: Links, link: Links
) -> tuple[float, int]:
    """(gap, agent) of the next one behind `s` on a lane and the ones that lead into it, from bumper to bumper."""
    rear = s - _HALF * f[LENGTH_M, a]
    nearest, found = FAR, -1
    j = head[lane - base]
    while j >= 0 and f[S_M, j] <= s:
        if j != a:
            gap = rear - f[S_M, j] - _HALF * f[LENGTH_M, j]
            if gap < nearest:
                nearest, found = gap, j
        j = link[j]
    if found >= 0:
        return nearest, found
    for k in range(MOST_LINKS):
        before = t.lane_n[lane, LEADING + k]
        if before < 0:
            break
        j = head[before - base]
        while j >= 0:
            if j != a:
                gap = rear + t.lane_f[before, LANE_M] - f[S_M, j] - _HALF * f[LENGTH_M, j]
                if gap < nearest:
                    nearest, found = gap, j
            j = link[j]
    return nearest, found


@part
def _in_reach(
    f: Floats, notes: Floats, first: Whole, last: Whole, x: float, y: float, c: float, s: float, curvature: float,
    reach: float, wide: float,
) -> Whole:  # fmt: skip
    """Bits of the agents from first to last, at most 32, that `body_ahead` may have to mind; a few more than those.

    Without a branch, so that eight go through one instruction.
    """
    bits, bow = np.uint32(0), _HALF * curvature
    for j in range(np.uint64(first), np.uint64(last)):
        dx, dy = f[X_M, j] - x, f[Y_M, j] - y
        ahead = dx * c + dy * s
        left = dy * c - dx * s - bow * ahead * ahead
        close = (ahead > _ZERO) & (ahead < reach + f[LENGTH_M, j]) & (abs(left) < wide + notes[GIRTH_M, j])
        bits = np.uint32(bits | np.uint32(np.uint32(close) << np.uint32(np.uint32(j - np.uint64(first)) & _31)))
    return bits


@part
def _lowest(bits: Whole) -> Whole:
    """The place of the lowest bit of a uint32 that is not 0: that bit as a float32 has it in its exponent."""
    low = np.float32(np.uint32(bits & np.uint32(~np.uint32(bits - _1))))
    return np.int32(low.view(np.int32) >> _MANTISSA) - _BIAS


@part
def body_ahead(f: Floats, n: Ints, egos: int, a: int, curvature: float, notes: Floats) -> tuple[float, float]:
    """(gap, speed along) of the nearest body in the strip that the agent is about to sweep, whatever lane it is in.

    The strip bends with `curvature` and is as long as braking at 4 m/s² takes. A walker counts too if it will be in
    the strip by the time the agent is there; walkers themselves look out for vehicles only. Traffic that drives in a
    lane of its own is no obstacle: conflicts between lanes are for `yielding` to settle. Drivers from outside may do
    anything.

    Args:
        notes: of all agents, from `note`.
    """
    x, y, c, s = f[X_M, a], f[Y_M, a], notes[COS, a], notes[SIN, a]
    v, half, wide = f[SPEED_MPS, a], _HALF * f[LENGTH_M, a], _HALF * f[WIDTH_M, a]
    reach = half + _NEAR_M + v * (_HALF + v * _HALF * _HALF * _HALF)
    # Who has stood for long squeezes past, as near as a hand's breadth.
    ease = max(_ONE - f[WAITED_S, a] / _SQUEEZE_S, _ZERO)
    far = (reach + _LONGEST_M) * (reach + _LONGEST_M)
    nearest, speed = FAR, _ZERO
    walks = n[KIND, a] == _WALKER
    first, count = np.int64(0), np.int64(f.shape[1])
    bits = np.uint32(0)
    while True:
        while bits == 0 and first < count:
            bits = _in_reach(f, notes, first, min(first + 32, count), x, y, c, s, curvature, reach, wide)
            first += 32
        if bits == 0:
            break
        j = (first - 32) + _lowest(bits)
        bits = np.uint32(bits & np.uint32(bits - _1))
        dx, dy = f[X_M, j] - x, f[Y_M, j] - y
        if dx * dx + dy * dy > far:
            continue
        ahead = dx * c + dy * s
        if ahead <= _ZERO or ahead > reach + _HALF * f[LENGTH_M, j] or j == a:
            continue
        on_foot = n[KIND, j] == _WALKER
        if walks and on_foot:
            continue
        left = dy * c - dx * s - _HALF * curvature * ahead * ahead
        along = c * notes[COS, j] + s * notes[SIN, j]
        across = c * notes[SIN, j] - s * notes[COS, j]
        deep = _HALF * (f[LENGTH_M, j] * abs(along) + f[WIDTH_M, j] * abs(across))
        # Of an oncoming body only the near end counts: one keeps to one's side, and so does it.
        keeps = j >= egos and not on_foot and abs(f[D_M, j] - f[TARGET_D_M, j]) < _KEEPS_M
        keeps = keeps and n[LANE, j] != n[LANE, a] and n[LANE, j] != n[NEXT_LANE, a]
        if keeps and not walks and f[SPEED_MPS, j] > _HALF:
            continue
        length = f[LENGTH_M, j] if along > _ONCOMING else _END_SHARE * f[LENGTH_M, j]
        broad = _HALF * (length * abs(across) + f[WIDTH_M, j] * abs(along))
        margin = _MARGIN_M - _NARROWING * ahead
        margin = -_TIGHT_M if keeps else min(margin, max(margin * ease, _LEAST_MARGIN_M))
        clear = wide + broad + margin
        inside = abs(left) < clear
        if on_foot and not inside:
            later = left + f[SPEED_MPS, j] * across * min(ahead / max(v, _LEAST_MPS), _TWO)
            inside = abs(later) < clear or (later > _ZERO) != (left > _ZERO)
        if inside:
            gap = ahead - half - deep
            if gap < nearest:
                nearest, speed = gap, max(f[SPEED_MPS, j] * along, _ZERO)
    return nearest, speed

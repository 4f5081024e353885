"""Who is around an agent: on its lanes, and bodily before it.

Each world's agents hang on their lanes as linked lists: `head[lane]` is one of the lane's agents, `link[agent]` the
next one; −1 ends the list. `head` is numbered from the map's first lane, `base`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import Whole, part, single
from stalwart.drive.geometry.tables import ENDS, FOLLOWING, JUNCTION, LANE_M, LEADING, MOST_LINKS, PARTED, Tables
from stalwart.drive.scene import Class
from stalwart.drive.world.state import (
    ALIVE,
    D_M,
    KIND,
    LANE,
    LENGTH_M,
    NEXT_LANE,
    S_M,
    SPEED_MPS,
    TARGET_D_M,
    WAITED_S,
    WIDTH_M,
    X_M,
    Y_M,
    Ints,
)

FAR = single(1e6)
NOWHERE: Whole = np.int32(-1)
"""No lane. A plain -1 would be a type of its own, for which a kernel is compiled once more."""
_ZERO, _HALF, _ONE, _TWO, _SIXTH = single(0.0), single(0.5), single(1.0), single(2.0), single(1 / 6)
_LONGEST_M, _ONCOMING, _END_SHARE = single(7.0), single(-0.3), single(0.3)
_SQUEEZE_S, _LEAST_MARGIN_M, _KEEPS_M, _TIGHT_M = single(25.0), single(0.1), single(0.7), single(0.2)
_MARGIN_M, _NARROWING, _NEAR_M, _LEAST_MPS = single(0.3), single(0.02), single(4.0), single(1.0)
_SPARE_M = single(0.5)
"""More than any margin beside a body."""
_1, _31 = np.uint32(1), np.uint32(31)
_WALKER = int(Class.PEDESTRIAN)
Links = NDArray[np.int32]
Floats = NDArray[np.float32]


@part
def hang(f: Floats, n: Ints, base: int, head: Links, link: Links) -> None:
    """Hang all agents of world `i` on their lanes."""
    head[:] = -1
    for a in range(f.shape[1]):
        if n[ALIVE, a]:
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
        while j >= 0:
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
                while j >= 0:
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
    while j >= 0:
        if j != a and f[S_M, j] <= s:
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
    f: Floats, n: Ints, first: Whole, last: Whole, x: float, y: float, c: float, s: float, curvature: float, reach:
    float, wide: float,
) -> Whole:  # fmt: skip
    """Bits of the agents from first to last, at most 32, that `body_ahead` may have to mind; a few more than those.

    Without a branch, so that eight go through one instruction.
    """
    bits = np.uint32(0)
    for j in range(np.uint64(first), np.uint64(last)):
        dx, dy = f[X_M, j] - x, f[Y_M, j] - y
        ahead = dx * c + dy * s
        left = dy * c - dx * s - _HALF * curvature * ahead * ahead
        long, fast = f[LENGTH_M, j], f[SPEED_MPS, j]
        aside = wide + _HALF * (long + f[WIDTH_M, j]) + _SPARE_M + (_TWO * fast if n[KIND, j] == _WALKER else _ZERO)
        close = (ahead > _ZERO) & (ahead < reach + long) & (abs(left) < aside) & (n[ALIVE, j] != 0)
        bits = np.uint32(bits | np.uint32(np.uint32(close) << np.uint32(np.uint32(j - np.uint64(first)) & _31)))
    return bits


@part
def body_ahead(
    f: Floats, n: Ints, egos: int, a: int, curvature: float, cosine: Floats, sine: Floats
) -> tuple[float, float]:
    """(gap, speed along) of the nearest body in the strip that the agent is about to sweep, whatever lane it is in.

    The strip bends with `curvature` and is as long as braking at 4 m/s² takes. A walker counts too if it will be in
    the strip by the time the agent is there; walkers themselves look out for vehicles only. Traffic that drives in a
    lane of its own is no obstacle: conflicts between lanes are for `yielding` to settle. Drivers from outside may do
    anything.
    """
    x, y, c, s = f[X_M, a], f[Y_M, a], cosine[a], sine[a]
    v, half, wide = f[SPEED_MPS, a], _HALF * f[LENGTH_M, a], _HALF * f[WIDTH_M, a]
    reach = half + _NEAR_M + v * (_HALF + v * _HALF * _HALF * _HALF)
    # Who has stood for long squeezes past, as near as a hand's breadth.
    ease = max(_ONE - f[WAITED_S, a] / _SQUEEZE_S, _ZERO)
    far = (reach + _LONGEST_M) * (reach + _LONGEST_M)
    nearest, speed = FAR, _ZERO
    walks = n[KIND, a] == _WALKER
    bits = np.uint32(0)
    for j in range(f.shape[1]):
        if j & 31 == 0:
            bits = _in_reach(f, n, j, min(j + 32, f.shape[1]), x, y, c, s, curvature, reach, wide)
        if not bits >> np.uint32(j & 31) & _1:
            continue
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
        along = c * cosine[j] + s * sine[j]
        across = c * sine[j] - s * cosine[j]
        deep = _HALF * (f[LENGTH_M, j] * abs(along) + f[WIDTH_M, j] * abs(across))
        # Of an oncoming body only the near end counts: one keeps to one's side, and so does it.
        keeps = j >= egos and not on_foot and abs(f[D_M, j] - f[TARGET_D_M, j]) < _KEEPS_M
        keeps = keeps and n[LANE, j] != n[LANE, a] and n[LANE, j] != n[NEXT_LANE, a]
        if keeps and f[SPEED_MPS, j] > _HALF:
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

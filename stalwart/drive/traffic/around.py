"""Who is around an agent on its lanes, and what is worked out of all agents before the first decides.

Each world's agents hang on their lanes as linked lists, from the hindmost on: `head[lane]` is the last of the lane's
agents, `link[agent]` the next one ahead; −1 ends the list, and −2 is the link of who hangs on none. `head` is numbered
from the map's first lane, `base`. So a search ahead ends with the first one that is found, but for long bodies.
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
    S_M,
    SPEED_MPS,
    STEER_RAD,
    WIDTH_M,
    YAW_RAD,
    Ints,
)

FAR = single(1e6)
NOWHERE: Whole = np.int32(-1)
"""No lane. A plain -1 would be a type of its own, for which a kernel is compiled once more."""
FIRST_LANE: Whole = np.int32(0)
_OFF: Whole = np.int32(-2)
"""In place of a link: hangs on no lane."""
_ONE_LESS: Whole = np.uint64(1)
_NEXT: Whole = np.int32(1)
_ZERO, _HALF, _TWO = single(0.0), single(0.5), single(2.0)
LONGEST_M = single(7.0)
"""More than half of any body's length."""
(
    COS, SIN, BEND, GIRTH_M, WHEELBASE_M, LANE_COS, LANE_SIN, LANE_BEND, LANE_MPS, OFF_RAD, ARC, REACH_M, NEAR_M,
    NEAR_MPS,
) = range(14)  # fmt: skip
NOTES = 14
"""Rows of what is worked out of all agents before the first decides, (14, N) float32: cosine and sine of the heading;
tangent of the steering angle; how far from its middle a body, or a walker within two seconds, may be in another's way,
-`FAR` where nobody is; the wheelbase. Then of the lane where the agent will be shortly: cosine and sine of its heading,
its curvature, the speed to keep there; and the angle from it to the agent's course. Last of the strip before it:
curvature, length, the gap to the nearest body in it and that one's speed along; see `strip`."""
_SPARE_M = single(0.5)
"""More than any margin beside a body."""
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

    Each counts who is ahead of it, of all agents and eight at a time; that is its place in `order` (N,), scratch. Of
    those at the same place the last is foremost.
    """
    head[:] = -1
    link[:] = _OFF
    order[:] = -1
    agents = np.uint64(f.shape[1])
    for k in range(agents):
        a, rank = agents - _ONE_LESS - k, np.int32(0)
        s = f[S_M, a]
        for j in range(agents):
            rank = np.int32(rank + np.int32(f[S_M, j] > s))
        while order[rank] >= 0:
            rank = np.int32(rank + _NEXT)
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
    known = lane == n[LANE, a] and s == f[S_M, a] and link[a] != _OFF  # whom it hangs behind
    for step in range(3):
        nearest, found = FAR, -1
        j = link[a] if known and step == 0 else head[here - base]
        while j >= 0 and offset + f[S_M, j] - LONGEST_M < nearest:
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
                while j >= 0 and f[S_M, j] - LONGEST_M < parted:
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

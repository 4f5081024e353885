"""Who is bodily before an agent, whatever lane it is in: in the strip that it is about to sweep."""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Whole, part, single
from stalwart.drive.scene import Class
from stalwart.drive.traffic.around import (
    ARC,
    BEND,
    COS,
    FAR,
    GIRTH_M,
    LONGEST_M,
    NEAR_M,
    NEAR_MPS,
    REACH_M,
    SIN,
    WHEELBASE_M,
    Floats,
    Links,
)
from stalwart.drive.world.state import (
    ALIVE,
    D_M,
    KIND,
    LANE,
    LENGTH_M,
    NEXT_LANE,
    SPEED_MPS,
    TARGET_D_M,
    WAITED_S,
    WIDTH_M,
    X_M,
    Y_M,
    Ints,
)

_ZERO, _HALF, _ONE, _TWO = single(0.0), single(0.5), single(1.0), single(2.0)
_ONCOMING, _END_SHARE = single(-0.3), single(0.3)
_SQUEEZE_S, _LEAST_MARGIN_M, _KEEPS_M, _TIGHT_M = single(25.0), single(0.1), single(0.7), single(0.2)
_MARGIN_M, _NARROWING, _NEAR_M, _LEAST_MPS = single(0.3), single(0.02), single(4.0), single(1.0)
_1, _31 = np.uint32(1), np.uint32(31)
_NONE: Whole = np.int32(0)
_MANTISSA, _BIAS = np.int32(23), np.int32(127)
"""Of a float32: its mantissa's bits, and what is added to its exponent."""
_AT_ONCE = 32
"""Bodies of which each agent notes by a bit whether it may have to mind them."""
_WALKER = int(Class.PEDESTRIAN)


@part
def _reach(length: float, speed: float) -> float:
    """How long the strip is, from the middle of the body: braking at 4 m/s² and then some."""
    return _HALF * length + _NEAR_M + speed * (_HALF + speed * _HALF * _HALF * _HALF)


@part
def _close(
    dx: float, dy: float, c: float, s: float, curvature: float, reach: float, wide: float, length: float, girth: float
) -> bool:
    """Whether a body at (dx, dy) may be in the strip; true of a few more than those."""
    ahead = dx * c + dy * s
    left = dy * c - dx * s - _HALF * curvature * ahead * ahead
    return (ahead > _ZERO) & (ahead < reach + length) & (abs(left) < wide + girth)


@part
def _bit(j: Whole) -> Whole:
    """A uint32 with bit `j` set."""
    return np.uint32(_1 << np.uint32(np.uint32(j) & _31))


@part
def _lowest(bits: Whole) -> Whole:
    """The place of the lowest bit of a uint32 that is not 0: that bit as a float32 has it in its exponent."""
    low = np.float32(np.uint32(bits & np.uint32(~np.uint32(bits - _1))))
    return np.int32(low.view(np.int32) >> _MANTISSA) - _BIAS


@part
def _keeps(f: Floats, n: Ints, egos: int, j: int) -> bool:
    """Whether somebody keeps to the lane that it is in. Of drivers from outside and walkers nobody knows."""
    return j >= egos and n[KIND, j] != _WALKER and abs(f[D_M, j] - f[TARGET_D_M, j]) < _KEEPS_M


@part
def look(f: Floats, n: Ints, egos: int, notes: Floats, minded: Links) -> None:
    """Write what `body_ahead` says of each agent of traffic into the rows `NEAR_M` and `NEAR_MPS` of `notes`.

    Whoever drives on in a lane of its own is compared with walkers only: vehicles follow it in their lane, if at all
    (`around.leader`). Anyone else is compared with all, eight at a time.

    Args:
        minded: (N,) scratch, the bits of whom each may have to mind.
    """
    first, count = np.uint64(egos), np.uint64(f.shape[1])
    for a in range(first, count):
        notes[ARC, a] = notes[BEND, a] / notes[WHEELBASE_M, a]
    for a in range(first, count):
        notes[REACH_M, a] = _reach(f[LENGTH_M, a], f[SPEED_MPS, a])
    for a in range(first, count):
        notes[NEAR_M, a], notes[NEAR_MPS, a] = FAR, _ZERO
    afoot = egos
    while afoot < f.shape[1] and n[KIND, afoot] != _WALKER:
        afoot += 1
    for begin in range(0, f.shape[1], _AT_ONCE):
        last = min(begin + _AT_ONCE, f.shape[1])
        for a in range(first, count):
            minded[a] = _NONE
        for j in range(begin, last):
            if n[ALIVE, j]:
                alone = f[SPEED_MPS, j] > _HALF and _keeps(f, n, egos, j)
                bit, length, girth, x, y = (
                    np.uint32(_bit(j - begin)).view(np.int32), f[LENGTH_M, j], notes[GIRTH_M, j], f[X_M, j], f[Y_M, j],
                )  # fmt: skip
                for a in range(np.uint64(afoot if alone else egos), count):
                    close = _close(
                        x - f[X_M, a], y - f[Y_M, a], notes[COS, a], notes[SIN, a], notes[ARC, a], notes[REACH_M, a],
                        _HALF * f[WIDTH_M, a], length, girth,
                    )  # fmt: skip
                    minded[a] = np.int32(minded[a] | (bit if close else _NONE))
        for a in range(egos, f.shape[1]):
            if not n[ALIVE, a]:
                continue
            bits = np.int32(minded[a]).view(np.uint32)
            while bits != 0:
                j = begin + _lowest(bits)
                bits = np.uint32(bits & np.uint32(bits - _1))
                gap, along = _gap(f, n, egos, a, j, notes[ARC, a], notes[REACH_M, a], notes)
                if gap < notes[NEAR_M, a]:
                    notes[NEAR_M, a], notes[NEAR_MPS, a] = gap, along


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
    reach = _reach(f[LENGTH_M, a], f[SPEED_MPS, a])
    nearest, speed = FAR, _ZERO
    for j in range(f.shape[1]):
        if _close(
            f[X_M, j] - f[X_M, a], f[Y_M, j] - f[Y_M, a], notes[COS, a], notes[SIN, a], curvature, reach,
            _HALF * f[WIDTH_M, a], f[LENGTH_M, j], notes[GIRTH_M, j],
        ):  # fmt: skip
            gap, along = _gap(f, n, egos, a, j, curvature, reach, notes)
            if gap < nearest:
                nearest, speed = gap, along
    return nearest, speed


@part
def _gap(
    f: Floats, n: Ints, egos: int, a: int, j: int, curvature: float, reach: float, notes: Floats
) -> tuple[float, float]:
    """(gap, speed along) of a body, as `body_ahead` says; gap `FAR` where it is not in the strip."""
    c, s, dx, dy = notes[COS, a], notes[SIN, a], f[X_M, j] - f[X_M, a], f[Y_M, j] - f[Y_M, a]
    ahead, far = dx * c + dy * s, reach + LONGEST_M
    if dx * dx + dy * dy > far * far or ahead <= _ZERO or ahead > reach + _HALF * f[LENGTH_M, j] or j == a:
        return FAR, _ZERO
    walks, on_foot = n[KIND, a] == _WALKER, n[KIND, j] == _WALKER
    if walks and on_foot:
        return FAR, _ZERO
    # Of an oncoming body only the near end counts: one keeps to one's side, and so does it.
    keeps = _keeps(f, n, egos, j) and n[LANE, j] != n[LANE, a] and n[LANE, j] != n[NEXT_LANE, a]
    if keeps and not walks and f[SPEED_MPS, j] > _HALF:
        return FAR, _ZERO
    left = dy * c - dx * s - _HALF * curvature * ahead * ahead
    along = c * notes[COS, j] + s * notes[SIN, j]
    across = c * notes[SIN, j] - s * notes[COS, j]
    length = f[LENGTH_M, j] if along > _ONCOMING else _END_SHARE * f[LENGTH_M, j]
    broad = _HALF * (length * abs(across) + f[WIDTH_M, j] * abs(along))
    # Who has stood for long squeezes past, as near as a hand's breadth.
    ease = max(_ONE - f[WAITED_S, a] / _SQUEEZE_S, _ZERO)
    margin = _MARGIN_M - _NARROWING * ahead
    margin = -_TIGHT_M if keeps else min(margin, max(margin * ease, _LEAST_MARGIN_M))
    clear = _HALF * f[WIDTH_M, a] + broad + margin
    inside = abs(left) < clear
    if on_foot and not inside:
        later = left + f[SPEED_MPS, j] * across * min(ahead / max(f[SPEED_MPS, a], _LEAST_MPS), _TWO)
        inside = abs(later) < clear or (later > _ZERO) != (left > _ZERO)
    if not inside:
        return FAR, _ZERO
    deep = _HALF * (f[LENGTH_M, j] * abs(along) + f[WIDTH_M, j] * abs(across))
    return ahead - _HALF * f[LENGTH_M, a] - deep, max(f[SPEED_MPS, j] * along, _ZERO)

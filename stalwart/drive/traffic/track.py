"""Where along its lanes a body has come to, and which lane is next."""

from __future__ import annotations

from stalwart.drive.compiled import part, single
from stalwart.drive.geometry.tables import BROAD_M, ENDS, FOLLOWING, LANE_M, LEFT, MOST_LINKS, RIGHT, Tables, project
from stalwart.drive.traffic.around import LANE_COS, LANE_SIN, Floats
from stalwart.drive.traffic.decide import AFTER_SALT, choose_next, note_standing, show
from stalwart.drive.world.state import (
    AFTER_LANE,
    ALIVE,
    D_M,
    DRIVEN_M,
    LANE,
    NEXT_LANE,
    ROUTE_AT,
    ROUTE_D_M,
    ROUTE_S_M,
    S_M,
    SHOWN_LANE,
    STOPPED_FOR,
    WAITED_S,
    X_M,
    Y_M,
    Ints,
    Words,
)  # fmt: skip

_ZERO, _HALF, _LATEST_S, _BODY_M, _FAR = single(0.0), single(0.5), single(90.0), single(8.0), single(1e9)
NOW_S_M, NOW_D_M = LANE_COS, LANE_SIN
"""Rows of `around.NOTES` once all have decided: where on its lane each agent has come to."""


@part
def track(t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int, dt: float, notes: Floats) -> None:
    """Where along its lanes an agent of traffic has come to; at the end of the road it leaves."""
    lane, s, d = n[LANE, a], notes[NOW_S_M, a], notes[NOW_D_M, a]
    if s > t.lane_f[lane, LANE_M]:
        then = n[NEXT_LANE, a]
        if then >= 0:
            s, d = project(t, then, s - t.lane_f[lane, LANE_M], f[X_M, a], f[Y_M, a])
            n[LANE, a], n[NEXT_LANE, a] = then, n[AFTER_LANE, a]
            n[AFTER_LANE, a] = -1
            if n[NEXT_LANE, a] >= 0:
                n[AFTER_LANE, a] = choose_next(t, f, n, z, a, n[NEXT_LANE, a], AFTER_SALT)
            show(t, f, n, z, traits, a)
            n[STOPPED_FOR, a] = -1
        elif not t.lane_n[lane, ENDS]:
            n[ALIVE, a] = 0
    f[S_M, a], f[D_M, a] = s, d
    note_standing(t, f, n, a, dt)
    if f[WAITED_S, a] > _LATEST_S:
        n[ALIVE, a] = 0  # stuck: towed away


@part
def track_ego(t: Tables, f: Floats, n: Ints, route: Ints, e: int, dt: float) -> None:
    """Which lane a driver from outside is in, for others to see, and how far along its route."""
    lane = before_lane = n[LANE, e]
    x, y = f[X_M, e], f[Y_M, e]
    s, d = project(t, lane, f[S_M, e], x, y)
    if s > t.lane_f[lane, LANE_M]:
        best, wanted = -1, n[NEXT_LANE, e]
        least, best_s, best_d = _FAR, s, d
        for k in range(MOST_LINKS):
            other = t.lane_n[lane, FOLLOWING + k]
            if other < 0:
                break
            s2, d2 = project(t, other, s - t.lane_f[lane, LANE_M], x, y)
            away = abs(d2) - (_HALF if other == wanted else _ZERO)
            if away < least:
                least, best, best_s, best_d = away, other, s2, d2
        if best >= 0:
            lane, s, d = best, best_s, best_d
    beside = t.lane_n[lane, LEFT] if d > _ZERO else t.lane_n[lane, RIGHT]
    if abs(d) > _HALF * t.lane_f[lane, BROAD_M] and beside >= 0:
        s2, d2 = project(t, beside, s * t.lane_f[beside, LANE_M] / t.lane_f[lane, LANE_M], x, y)
        if abs(d2) < abs(d):
            lane, s, d = beside, s2, d2
    n[LANE, e], f[S_M, e], f[D_M, e] = lane, s, d
    if lane != before_lane:
        n[STOPPED_FOR, e] = -1
    at = n[ROUTE_AT, e]
    on = route[e, at]
    before = f[ROUTE_S_M, e]
    s, d = project(t, on, before, x, y)
    s = min(max(s, before - _BODY_M), before + _BODY_M)
    f[DRIVEN_M, e] += s - before
    if s > t.lane_f[on, LANE_M] and at + 1 < route.shape[1] and route[e, at + 1] >= 0:
        s -= t.lane_f[on, LANE_M]
        n[ROUTE_AT, e] = at + 1
        s, d = project(t, route[e, at + 1], s, x, y)
    f[ROUTE_S_M, e], f[ROUTE_D_M, e] = s, d
    _intend(t, n, route, e)
    note_standing(t, f, n, e, dt)


@part
def _intend(t: Tables, n: Ints, route: Ints, e: int) -> None:
    """The lanes that others take a driver from outside to go to: its route's where it is on it, else any."""
    lane, at, count = n[LANE, e], n[ROUTE_AT, e], route.shape[1]
    n[NEXT_LANE, e], n[AFTER_LANE, e] = t.lane_n[lane, FOLLOWING + 0], -1
    for k in range(at, min(at + 2, count)):
        if route[e, k] == lane:
            n[NEXT_LANE, e] = route[e, k + 1] if k + 1 < count else -1
            n[AFTER_LANE, e] = route[e, k + 2] if k + 2 < count else -1
    n[SHOWN_LANE, e] = n[NEXT_LANE, e]

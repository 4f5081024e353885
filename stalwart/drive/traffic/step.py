"""One tick of all worlds: decide, move, keep track of lanes, see who touches whom, come and go."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.chance import mixed, uniform
from stalwart.drive.compiled import Whole, free_kernel, kernel, part, single
from stalwart.drive.geometry.tables import (
    BOXES,
    BOXES_END,
    BROAD_M,
    ENDS,
    FOLLOWING,
    LANE_M,
    LANES,
    LANES_END,
    LEFT,
    MOST_LINKS,
    RIGHT,
    Places,
    Tables,
    project,
)
from stalwart.drive.scene import Class
from stalwart.drive.threads import share
from stalwart.drive.traffic.around import Floats, hang
from stalwart.drive.traffic.decide import AFTER_SALT, change_lanes, choose_next, decide, jaywalk, note_standing, show
from stalwart.drive.traffic.drivers import Crowd
from stalwart.drive.traffic.spawn import come_again, lay_route, settle
from stalwart.drive.world.bicycle import asked_accel, asked_steer, move
from stalwart.drive.world.bodies import (
    FIRST_KIND,
    JERK,
    LIMITS,
    MOST_ACCEL,
    MOST_BRAKE,
    MOST_STEER,
    STEER_RATE,
    WHEELBASE,
)
from stalwart.drive.world.contact import at_fault, contact, overlap
from stalwart.drive.world.state import (
    ACCEL_MPS2,
    AFTER_LANE,
    ALIVE,
    D_M,
    DRIVEN_M,
    FAULT,
    HIT,
    KEY,
    KIND,
    LANE,
    LENGTH_M,
    MAP,
    NEXT_LANE,
    ROUTE_AT,
    ROUTE_D_M,
    ROUTE_S_M,
    S_M,
    SHOWN_LANE,
    SPEED_MPS,
    STEER_RAD,
    STOPPED_FOR,
    TICK,
    WAITED_S,
    WANTED_ACCEL_MPS2,
    WANTED_STEER_RAD,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Ints,
    Words,
)

_ZERO, _HALF, _ONE, _TWO, _LATEST_S = single(0.0), single(0.5), single(1.0), single(2.0), single(90.0)
_PHASE_S, _WANDER, _BODY_M, _FAR = single(120.0), single(0.75), single(8.0), single(1e9)
_WALKER = int(Class.PEDESTRIAN)
_EVERY, _EVERY_F = 10, single(10.0)
_ONE_TICK: Whole = np.uint64(1)
_NO_TICK: Whole = np.uint64(0)
_PHASE: Whole = np.int64(47)
_ANYWHERE: Whole = np.bool_(True)
"""Ticks between two thoughts of changing lanes, or of crossing the road."""


def advance(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, routes: Ints, traits: Floats, grip: Floats,
    crowd: Crowd, walkers: int, dt: float,
) -> None:  # fmt: skip
    """All worlds a tick on. What drivers from outside want stands in `WANTED_ACCEL_MPS2` and `WANTED_STEER_RAD`.

    Args:
        floats, ints, words, routes, traits, grip: the fields of `world.state.State`.
        walkers: how many agents of each world walk; they are the last ones.
        dt: seconds, float32.
    """

    share(partial(_advance, t, p, floats, ints, words, routes, traits, grip, crowd, walkers, dt), len(floats))


@free_kernel
def _advance(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, routes: Ints, traits: Floats, grip: Floats,
    crowd: Crowd, walkers: int, dt: float, first: int, last: int,
) -> None:  # fmt: skip
    for i in range(first, last):
        f, n, z, route, mine = floats[i], ints[i], words[i], routes[i], traits[i]
        egos, agents = route.shape[0], f.shape[1]
        m = int(z[MAP])
        base = p.map_n[m, LANES]
        head = np.empty(p.map_n[m, LANES_END] - base, np.int32)
        link = np.empty(agents, np.int32)
        cosine, sine = np.empty(agents, np.float32), np.empty(agents, np.float32)
        hang(f, n, base, head, link)
        for a in range(agents):
            cosine[a], sine[a] = math.cos(f[YAW_RAD, a]), math.sin(f[YAW_RAD, a])
        time_s = clock(z, dt)
        turn = int(z[TICK])
        for a in range(egos, agents):
            if n[ALIVE, a]:
                decide(t, f, n, z, mine, egos, a, time_s, dt, base, head, link, cosine, sine)
        for a in range(egos, agents - walkers):
            lane = n[LANE, a]
            if n[ALIVE, a] and (turn + a) % _EVERY == 0 and (t.lane_n[lane, LEFT] >= 0 or t.lane_n[lane, RIGHT] >= 0):
                change_lanes(t, f, n, z, mine, a, base, head, link)
        for a in range(agents):
            if n[ALIVE, a]:
                _move(f, n, a, cosine[a], sine[a], grip[i], dt)
                if a < egos:
                    track_ego(t, f, n, route, a, dt)
                else:
                    _track(t, f, n, z, mine, a, dt)
        for a in range(max(agents - walkers, egos), agents):
            if n[ALIVE, a] and (turn + a) % _EVERY == 0:
                jaywalk(t, f, n, z, mine, a, dt * _EVERY_F)
        for e in range(egos):
            if n[ALIVE, e] and n[HIT, e] < 0:
                _touch(t, p, f, n, e, m)
        for a in range(egos, agents):
            if not n[ALIVE, a] and (turn + a) % 4 == 0:
                come_again(t, p, f, n, z, mine, crowd, egos, a, a >= agents - walkers)
        z[TICK] += _ONE_TICK


@part
def clock(z: Words, dt: float) -> float:
    """Seconds on a world's clock, which signals follow: each episode starts at another time."""
    phase: float = uniform(z[KEY], _NO_TICK, _PHASE) * _PHASE_S
    time: float = np.float32(z[TICK]) * dt + phase  # type: ignore[assignment]
    return time


@part
def _move(f: Floats, n: Ints, a: int, cosine: float, sine: float, grip: float, dt: float) -> None:
    kind = n[KIND, a] - FIRST_KIND
    accel = asked_accel(
        f[ACCEL_MPS2, a],
        f[WANTED_ACCEL_MPS2, a],
        LIMITS[kind, MOST_ACCEL],
        LIMITS[kind, MOST_BRAKE],
        LIMITS[kind, JERK],
        grip,
        dt,
    )
    steer = asked_steer(f[STEER_RAD, a], f[WANTED_STEER_RAD, a], LIMITS[kind, MOST_STEER], LIMITS[kind, STEER_RATE], dt)
    x, y, yaw, speed = move(
        f[X_M, a], f[Y_M, a], f[YAW_RAD, a], cosine, sine, f[SPEED_MPS, a], accel, steer,
        LIMITS[kind, WHEELBASE], grip, dt,
    )  # fmt: skip
    if speed == _ZERO and accel < _ZERO:
        accel = _ZERO
    f[X_M, a], f[Y_M, a], f[YAW_RAD, a], f[SPEED_MPS, a] = x, y, yaw, speed
    f[ACCEL_MPS2, a], f[STEER_RAD, a] = accel, steer


@part
def _track(t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int, dt: float) -> None:
    """Where along its lanes an agent of traffic has come to; at the end of the road it leaves."""
    lane = n[LANE, a]
    s, d = project(t, lane, f[S_M, a], f[X_M, a], f[Y_M, a])
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


@kernel
def _touch(t: Tables, p: Places, f: Floats, n: Ints, e: int, m: int) -> None:
    """Write what the driver from outside touches first, and whether it is to blame."""
    x, y, yaw, length, width = f[X_M, e], f[Y_M, e], f[YAW_RAD, e], f[LENGTH_M, e], f[WIDTH_M, e]
    speed = f[SPEED_MPS, e]
    for j in range(f.shape[1]):
        if (
            j != e
            and n[ALIVE, j]
            and overlap(x, y, yaw, length, width, f[X_M, j], f[Y_M, j], f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j])
        ):
            how = contact(
                x, y, yaw, length, width, speed,
                f[X_M, j], f[Y_M, j], f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j], f[SPEED_MPS, j],
            )  # fmt: skip
            n[HIT, e] = j
            n[FAULT, e] = at_fault(how, f[D_M, e], t.lane_f[n[LANE, e], BROAD_M], width)
            return
    for b in range(p.map_n[m, BOXES], p.map_n[m, BOXES_END]):
        dx, dy = p.box_m[b, 0] - x, p.box_m[b, 1] - y
        reach = _HALF * (length + width + p.box_m[b, 3] + p.box_m[b, 4])
        if dx * dx + dy * dy < reach * reach and overlap(
            x, y, yaw, length, width, p.box_m[b, 0], p.box_m[b, 1], p.box_m[b, 2], p.box_m[b, 3], p.box_m[b, 4]
        ):
            n[HIT, e] = f.shape[1] + b - p.map_n[m, BOXES]
            n[FAULT, e] = 1
            return


def start(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, routes: Ints, traits: Floats, crowd: Crowd,
    walkers: int, mask: NDArray[np.bool_], keys: Words, episode: Words,
) -> None:  # fmt: skip
    """Begin an episode in the worlds of the mask: everyone is placed anew, and the drivers from outside get routes.

    Args:
        floats, ints, words, routes, traits: the fields of `world.state.State`.
        keys: (W,) the worlds' keys.
        episode: (W,) the number of the episode; with the key it says everything.
    """

    share(partial(_start, t, p, floats, ints, words, routes, traits, crowd, walkers, mask, keys, episode), len(floats))


@free_kernel
def _start(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, routes: Ints, traits: Floats, crowd: Crowd,
    walkers: int, mask: NDArray[np.bool_], keys: Words, episode: Words, first: int, last: int,
) -> None:  # fmt: skip
    for i in range(first, last):
        if mask[i]:
            f, n, z, route = floats[i], ints[i], words[i], routes[i]
            egos, agents = route.shape[0], f.shape[1]
            z[KEY] = mixed(keys[i] + episode[i])
            z[TICK] = _NO_TICK
            n[ALIVE, :] = 0
            for a in range(agents):
                settle(t, p, f, n, z, traits[i], crowd, egos, a, a >= agents - walkers, _ANYWHERE)
                if a < egos:
                    lay_route(t, f, n, z, route, a)
            z[TICK] = _ONE_TICK


@free_kernel
def touching(floats: Floats, ints: Ints, out: NDArray[np.bool_]) -> None:
    """Write (W, N) which agents touch another one; walkers pass through each other."""
    for i in range(floats.shape[0]):
        f, n = floats[i], ints[i]
        out[i, :] = False
        for a in range(f.shape[1]):
            for j in range(a):
                if not (n[ALIVE, a] and n[ALIVE, j]) or (n[KIND, a] == _WALKER and n[KIND, j] == _WALKER):
                    continue
                if overlap(
                    f[X_M, a], f[Y_M, a], f[YAW_RAD, a], f[LENGTH_M, a], f[WIDTH_M, a],
                    f[X_M, j], f[Y_M, j], f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j],
                ):  # fmt: skip
                    out[i, a] = True
                    out[i, j] = True

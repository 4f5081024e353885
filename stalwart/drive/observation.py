"""What a driver from outside is told without sensors, what it did wrong, and the scene that sensors see."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import free_kernel, kernel, single
from stalwart.drive.geometry.lanes import Control
from stalwart.drive.geometry.tables import (
    BROAD_M,
    CONTROL,
    JUNCTION,
    LANE_M,
    LEFT,
    LIMIT_MPS,
    SIGNAL,
    SIGNALS,
    Places,
    Tables,
    pose_at,
)  # fmt: skip
from stalwart.drive.scene import Class
from stalwart.drive.threads import share
from stalwart.drive.traffic.step import clock
from stalwart.drive.traffic.yielding import GREEN, RED, YELLOW, signal_state
from stalwart.drive.world.state import (
    ACCEL_MPS2,
    ALIVE,
    D_M,
    HEIGHT_M,
    KIND,
    LANE,
    LENGTH_M,
    MAP,
    ROUTE_AT,
    ROUTE_D_M,
    ROUTE_S_M,
    SPEED_MPS,
    STEER_RAD,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Floats,
    Ints,
    Words,
)  # fmt: skip

PATH_M = np.array([0.0, 5.0, 10.0, 20.0, 40.0], np.float32)
"""Distances along the route at which the vector tells where it leads."""
NEIGHBOURS = 8
_EGO, _PATH, _LIGHT, _OTHER = 7, 3, 6, 8
OBSERVED = _EGO + _PATH * len(PATH_M) + _LIGHT + _OTHER * NEIGHBOURS
"""Length of the vector: 92."""

_ONE_OTHER = (40.0, 40.0, 1.0, 1.0, 15.0, 5.0, 2.0, 1.0)
SCALE = np.array(
    [15.0, 5.0, 0.6, 2.0, 1.0, 2.0, 15.0]
    + [20.0, 20.0, 15.0] * len(PATH_M)
    + [50.0, 1, 1, 1, 1, 1]
    + [*_ONE_OTHER] * 8,
    np.float32,
)
"""(92,) what to divide the vector by, so that most values lie within −2 and 2."""

_ZERO, _HALF, _ONE, _SIGHT2_M2, _FARTHEST_M = single(0.0), single(0.5), single(1.0), single(60.0**2), single(100.0)
_WALKER = int(Class.PEDESTRIAN)
_SIGNAL, _STOP, _ALL_WAY = (int(c) for c in (Control.SIGNAL, Control.STOP, Control.ALL_WAY_STOP))


def observe(
    t: Tables, floats: Floats, ints: Ints, words: Words, routes: Ints, dt: float, out: NDArray[np.float32]
) -> None:
    """Fill (W, E, 92), SI units, places in the driver's own frame (x ahead, y to the left).

    In order: speed, acceleration, steering angle, distance from the route's centre line, heading against it, half the
    lane's width, the limit; for 0, 5, 10, 20 and 40 m along the route x, y and the speed to drive there; way to the
    next stop line (at most 100 m), 1 for each of green, yellow, red, stop sign, yield sign; for the 8 nearest bodies
    within 60 m x, y, cos and sin of their relative heading, speed, length, width, 1 for a walker; zeros where there
    are fewer.
    """

    share(partial(_observe, t, floats, ints, words, routes, dt, out), len(floats))


@free_kernel
def _observe(
    t: Tables, floats: Floats, ints: Ints, words: Words, routes: Ints, dt: float, out: NDArray[np.float32], first: int,
    last: int,
) -> None:  # fmt: skip
    least, who = np.empty(NEIGHBOURS, np.float32), np.empty(NEIGHBOURS, np.int32)
    for i in range(first, last):
        for e in range(routes.shape[1]):
            tell_self(t, floats[i], routes[i, e], ints[i], e, out[i, e])
            tell_line(t, floats[i], ints[i], words[i], routes[i, e], e, dt, out[i, e])
            tell_others(floats[i], ints[i], e, out[i, e], least, who)


@kernel
def tell_self(t: Tables, f: Floats, route: Ints, n: Ints, e: int, out: Floats) -> None:
    at, s = n[ROUTE_AT, e], f[ROUTE_S_M, e]
    _, _, c, sn, _, _ = pose_at(t, route[at], s)
    cosine, sine = math.cos(f[YAW_RAD, e]), math.sin(f[YAW_RAD, e])
    out[0], out[1], out[2] = f[SPEED_MPS, e], f[ACCEL_MPS2, e], f[STEER_RAD, e]
    out[3] = f[ROUTE_D_M, e]
    out[4] = math.atan2(sine * c - cosine * sn, cosine * c + sine * sn)
    out[5], out[6] = _HALF * t.lane_f[route[at], BROAD_M], t.lane_f[route[at], LIMIT_MPS]
    for k in range(PATH_M.shape[0]):
        ahead = s + PATH_M[k]
        r = at
        while ahead > t.lane_f[route[r], LANE_M] and r + 1 < route.shape[0] and route[r + 1] >= 0:
            ahead -= t.lane_f[route[r], LANE_M]
            r += 1
        x, y, _, _, _, cap = pose_at(t, route[r], ahead)
        dx, dy = x - f[X_M, e], y - f[Y_M, e]
        j = _EGO + _PATH * k
        out[j], out[j + 1], out[j + 2] = dx * cosine + dy * sine, dy * cosine - dx * sine, cap


@kernel
def tell_line(t: Tables, f: Floats, n: Ints, z: Words, route: Ints, e: int, dt: float, out: Floats) -> None:
    j = _EGO + _PATH * PATH_M.shape[0]
    out[j : j + _LIGHT] = _ZERO
    out[j] = _FARTHEST_M
    way = -f[ROUTE_S_M, e] - _HALF * f[LENGTH_M, e]
    for r in range(n[ROUTE_AT, e], route.shape[0] - 1):
        way += t.lane_f[route[r], LANE_M]
        then = route[r + 1]
        if then < 0 or way > _FARTHEST_M:
            return
        control = t.lane_n[then, CONTROL]
        if way > -_ONE and t.lane_n[then, JUNCTION] >= 0 and control != 0:
            out[j] = way
            if control == _SIGNAL:
                state = signal_state(t, t.lane_n[then, SIGNAL], clock(z, dt))
                out[j + 1 + state] = _ONE
            elif control in (_STOP, _ALL_WAY):
                out[j + 4] = _ONE
            else:
                out[j + 5] = _ONE
            return


@kernel
def tell_others(f: Floats, n: Ints, e: int, out: Floats, least: Floats, who: Ints) -> None:
    base = _EGO + _PATH * PATH_M.shape[0] + _LIGHT
    out[base:] = _ZERO
    cosine, sine = math.cos(f[YAW_RAD, e]), math.sin(f[YAW_RAD, e])
    for k in range(NEIGHBOURS):
        least[k], who[k] = _SIGHT2_M2, -1
    for j in range(f.shape[1]):
        if j == e or not n[ALIVE, j]:
            continue
        dx, dy = f[X_M, j] - f[X_M, e], f[Y_M, j] - f[Y_M, e]
        square = dx * dx + dy * dy
        k = NEIGHBOURS
        while k > 0 and square < least[k - 1]:
            if k < NEIGHBOURS:
                least[k], who[k] = least[k - 1], who[k - 1]
            k -= 1
            least[k], who[k] = square, j
    for k in range(NEIGHBOURS):
        j = who[k]
        if j < 0:
            return
        dx, dy = f[X_M, j] - f[X_M, e], f[Y_M, j] - f[Y_M, e]
        turn = f[YAW_RAD, j] - f[YAW_RAD, e]
        row = out[base + k * _OTHER : base + (k + 1) * _OTHER]
        row[0], row[1] = dx * cosine + dy * sine, dy * cosine - dx * sine
        row[2], row[3], row[4] = math.cos(turn), math.sin(turn), f[SPEED_MPS, j]
        row[5], row[6], row[7] = f[LENGTH_M, j], f[WIDTH_M, j], np.float32(n[KIND, j] == _WALKER)


OFF_ROAD, WRONG_WAY, RAN_RED, RAN_STOP, ARRIVED = range(5)
"""Columns of what `judge` writes."""


def judge(
    t: Tables, floats: Floats, ints: Ints, words: Words, routes: Ints, before: Ints, stopped: Ints,
    raster: NDArray[np.uint8], origin: Floats, metres_per_pixel: float, dt: float, out: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Fill (W, E, 5): off the road, on the wrong side, past a red signal, past a stop sign, at the end of the route.

    Off the road is a corner of the body on ground that is no road, shoulder, parking strip or paint. Signals and signs
    count in the step in which the driver comes from an approach (`before` (W, E), its lane a step ago; `stopped`
    (W, E), the line it had stopped at) onto a lane through a junction.
    """

    share(
        partial(
            _judge, t, floats, ints, words, routes, before, stopped, raster, origin, metres_per_pixel, dt, out,
        ),
        len(floats),
    )  # fmt: skip


@free_kernel
def _judge(
    t: Tables, floats: Floats, ints: Ints, words: Words, routes: Ints, before: Ints, stopped: Ints,
    raster: NDArray[np.uint8], origin: Floats, metres_per_pixel: float, dt: float, out: NDArray[np.bool_], first: int,
    last: int,
) -> None:  # fmt: skip
    for i in range(first, last):
        find_faults(
            t, floats[i], ints[i], words[i], routes[i], before[i], stopped[i], raster, origin, metres_per_pixel, dt,
            out[i],
        )  # fmt: skip


@kernel
def find_faults(
    t: Tables, f: Floats, n: Ints, z: Words, routes: Ints, before: Ints, stopped: Ints, raster: NDArray[np.uint8],
    origin: Floats, metres_per_pixel: float, dt: float, out: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Fill one world's (E, 5)."""
    m = int(z[MAP])
    for e in range(routes.shape[0]):
        c, s = math.cos(f[YAW_RAD, e]), math.sin(f[YAW_RAD, e])
        off = False
        for k in range(4):
            ahead = _HALF * f[LENGTH_M, e] * (_ONE if k < 2 else -_ONE)
            left = _HALF * f[WIDTH_M, e] * (_ONE if k % 2 == 0 else -_ONE)
            column = np.int64(math.floor((f[X_M, e] + c * ahead - s * left - origin[m, 0]) / metres_per_pixel))
            row = np.int64(math.floor((f[Y_M, e] + s * ahead + c * left - origin[m, 1]) / metres_per_pixel))
            if row < 0 or column < 0 or row >= raster.shape[1] or column >= raster.shape[2]:
                off = True
            else:
                off = off or not DRIVABLE[raster[m, row, column]]
        lane = n[LANE, e]
        out[e, OFF_ROAD] = off
        junction = t.lane_n[lane, JUNCTION] >= 0
        out[e, WRONG_WAY] = (
            not off and not junction and t.lane_n[lane, LEFT] < 0 and f[D_M, e] > _HALF * t.lane_f[lane, BROAD_M]
        )
        entered = junction and lane != before[e] and t.lane_n[before[e], JUNCTION] < 0
        control = t.lane_n[lane, CONTROL]
        red = entered and control == _SIGNAL
        out[e, RAN_RED] = red and signal_state(t, t.lane_n[lane, SIGNAL], clock(z, dt)) == RED
        must_stop = control in (_STOP, _ALL_WAY)
        out[e, RAN_STOP] = entered and must_stop and stopped[e] != lane
        route, at = routes[e], n[ROUTE_AT, e]
        last = at + 1 >= route.shape[0] or route[at + 1] < 0
        out[e, ARRIVED] = last and f[ROUTE_S_M, e] > t.lane_f[route[at], LANE_M] - f[LENGTH_M, e]


DRIVABLE = np.zeros(256, np.bool_)
"""(256,) which ground classes a body may be on."""
for _kind in (
    Class.ROAD,
    Class.SHOULDER,
    Class.PARKING,
    Class.LINE,
    Class.YELLOW_LINE,
    Class.STOP_LINE,
    Class.CROSSING,
):
    DRIVABLE[_kind] = True


def fill_scene(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, dt: float, first: Ints, standing: Floats,
    looks: Ints, x: Floats, y: Floats, z0: Floats, yaw: Floats, length: Floats, width: Floats, height: Floats,
    kind: NDArray[np.uint8], instance: NDArray[np.uint16], tint: NDArray[np.uint8], alive: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write each world's agents, then those of the things that stand which are nearest to its first agent.

    Args:
        first: (M + 1,) where each map's things start in `standing` (B, 7: x, y, z0, yaw, length, width, height) and
            `looks` (B, 2: class, the map's signal that it shows or −1).
    """

    share(
        partial(
            _fill_scene, t, p, floats, ints, words, dt, first, standing, looks, x, y, z0, yaw, length, width, height,
            kind, instance, tint, alive,
        ),
        len(floats),
    )  # fmt: skip


@free_kernel
def _fill_scene(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, dt: float, first: Ints, standing: Floats,
    looks: Ints, x: Floats, y: Floats, z0: Floats, yaw: Floats, length: Floats, width: Floats, height: Floats,
    kind: NDArray[np.uint8], instance: NDArray[np.uint16], tint: NDArray[np.uint8], alive: NDArray[np.bool_],
    begin: int, last: int,
) -> None:  # fmt: skip
    near, who = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.int32)
    for i in range(begin, last):
        show(
            t, p, floats[i], ints[i], words[i], dt, first, standing, looks, x[i], y[i], z0[i], yaw[i], length[i],
            width[i], height[i], kind[i], instance[i], tint[i], alive[i], near, who,
        )  # fmt: skip


@kernel
def show(
    t: Tables, p: Places, f: Floats, n: Ints, z: Words, dt: float, first: Ints, standing: Floats, looks: Ints,
    x: Floats, y: Floats, z0: Floats, yaw: Floats, length: Floats, width: Floats, height: Floats,
    kind: NDArray[np.uint8], instance: NDArray[np.uint16], tint: NDArray[np.uint8], alive: NDArray[np.bool_],
    near: Floats, who: Ints,
) -> None:  # fmt: skip
    """Write one world's boxes. `near` and `who` (boxes,) are scratch: how far off the nearest things are, and which."""
    agents, boxes, m = f.shape[1], x.shape[0], int(z[MAP])
    for a in range(agents):
        x[a], y[a], z0[a], yaw[a] = f[X_M, a], f[Y_M, a], _ZERO, f[YAW_RAD, a]
        length[a], width[a], height[a] = f[LENGTH_M, a], f[WIDTH_M, a], f[HEIGHT_M, a]
        kind[a], instance[a], alive[a] = n[KIND, a], a + 1, n[ALIVE, a] != 0
    found, room = 0, boxes - agents
    for b in range(first[m + 1] - first[m] if room > 0 else 0):
        row = standing[first[m] + b]
        dx, dy = row[0] - f[X_M, 0], row[1] - f[Y_M, 0]
        away = np.float32(math.sqrt(dx * dx + dy * dy) - _HALF * max(row[4], row[5]))
        if found == room and away >= near[room - 1]:
            continue
        k = min(found, room - 1)
        while k > 0 and near[k - 1] > away:
            near[k], who[k] = near[k - 1], who[k - 1]
            k -= 1
        near[k], who[k] = away, b
        found = min(found + 1, room)
    for k in range(room):
        j = agents + k
        alive[j] = k < found
        if k >= found:
            continue
        b = first[m] + who[k]
        row = standing[b]
        x[j], y[j], z0[j], yaw[j] = row[0], row[1], row[2], row[3]
        length[j], width[j], height[j] = row[4], row[5], row[6]
        kind[j], instance[j] = looks[b, 0], agents + 1 + who[k]
        tint[j, :] = 255
        if looks[b, 1] >= 0:
            state = signal_state(t, p.map_n[m, SIGNALS] + looks[b, 1], clock(z, dt))
            tint[j, 0] = 40 if state == GREEN else 255
            tint[j, 1] = 40 if state == RED else (200 if state == YELLOW else 255)
            tint[j, 2] = 60 if state == GREEN else 30

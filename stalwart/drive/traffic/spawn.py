"""Where agents come from: at the start of an episode, and later in place of those who have left."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.chance import uniform
from stalwart.drive.compiled import Whole, kernel, single
from stalwart.drive.geometry.tables import (
    BROAD_M,
    DRIVES,
    DRIVES_END,
    ENDS,
    ENTRIES,
    ENTRIES_END,
    FOLLOWING,
    LANE_M,
    LEFT,
    LIMIT_MPS,
    MOST_LINKS,
    RIGHT,
    Places,
    Tables,
    pose_at,
)
from stalwart.drive.scene import Class
from stalwart.drive.traffic.around import NOWHERE, Floats
from stalwart.drive.traffic.decide import plan
from stalwart.drive.traffic.drivers import DESIRE, HEADWAY_S, Crowd, draw_traits
from stalwart.drive.world.bodies import FIRST_KIND, LIMITS
from stalwart.drive.world.state import (
    ACCEL_MPS2,
    AFTER_LANE,
    ALIVE,
    D_M,
    DRIVEN_M,
    FAULT,
    HEIGHT_M,
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
    TARGET_D_M,
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

_ZERO, _HALF, _ONE = single(0.0), single(0.5), single(1.0)
_WALKER, _CAR, _CYCLIST = int(Class.PEDESTRIAN), int(Class.CAR), int(Class.CYCLIST)
_VAN, _TRUCK, _BUS = int(Class.VAN), int(Class.TRUCK), int(Class.BUS)
_KINDS = np.array([Class.CAR, Class.VAN, Class.TRUCK, Class.BUS, Class.MOTORCYCLE, Class.CYCLIST], np.uint8)
_SIZES = np.float32(0.12)
_WALK_MPS, _RIDE_MPS, _SHARE = single(1.3), single(5.0), single(0.8)
_APART_M, _OFF_M, _ENTRY_M, _SIGHT2, _END_M, _KERB_M = (single(v) for v in (4.0, 6.0, 2.0, 60.0**2, 8.0, 0.7))
_FASTEST_LANES_MPS = single(20.0)
_UNSEEN: Whole = np.bool_(False)
_NO_TICK: Whole = np.uint64(0)
TRIES = 24


@kernel
def embody(
    f: Floats, n: Ints, z: Words, traits: Floats, crowd: Crowd, a: int, walks: bool, ego: bool, fast: bool
) -> None:
    """Draw an agent's kind, size and traits."""
    key, tick = z[KEY], z[TICK]
    draw_traits(crowd, traits[a], key, tick, a * 64)
    kind = _CAR
    if walks:
        kind = _WALKER
    elif not ego:
        draw = uniform(key, tick, a * 64 + 20)
        pick = 0
        while pick < 5 and draw >= crowd.kinds[pick]:
            pick += 1
        kind = _KINDS[pick]
        if fast and kind == _CYCLIST:
            kind = _CAR
        if not fast and kind in (_TRUCK, _BUS):  # they would swing into the next lane at the corners of streets
            kind = _VAN
    n[KIND, a] = kind
    row = LIMITS[kind - FIRST_KIND]
    size = _ZERO if ego else _SIZES * (uniform(key, tick, a * 64 + 21) - _HALF)
    f[LENGTH_M, a] = row[0] * (_ONE + size)
    f[WIDTH_M, a] = row[1] * (_ONE + size * _HALF)
    f[HEIGHT_M, a] = row[2] * (_ONE + size)
    f[SPEED_MPS, a], f[ACCEL_MPS2, a], f[STEER_RAD, a] = _ZERO, _ZERO, _ZERO
    f[WANTED_ACCEL_MPS2, a], f[WANTED_STEER_RAD, a] = _ZERO, _ZERO
    f[WAITED_S, a], n[STOPPED_FOR, a] = _ZERO, -1


@kernel
def place(t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int, lane: int, s: float) -> None:
    """Put an agent onto a lane, in the middle of its course, at about the speed to be driven there."""
    x, y, c, sn, _, cap = pose_at(t, lane, s)
    kind = n[KIND, a]
    aside, speed = _ZERO, _SHARE * cap * traits[a, DESIRE]
    if kind == _WALKER:
        speed = _WALK_MPS
    if kind == _CYCLIST:
        aside, speed = _KERB_M - _HALF * t.lane_f[lane, BROAD_M], min(speed, _RIDE_MPS)
    n[LANE, a], f[S_M, a], f[D_M, a], f[TARGET_D_M, a] = lane, s, aside, aside
    f[X_M, a], f[Y_M, a] = x - sn * aside, y + c * aside
    f[YAW_RAD, a] = math.atan2(sn, c)
    f[SPEED_MPS, a] = speed
    n[ALIVE, a] = 1
    plan(t, f, n, z, traits, a)


@kernel
def free(t: Tables, f: Floats, n: Ints, traits: Floats, a: int, lane: int, s: float) -> bool:
    """Whether nobody is too near, at the speed to be driven there, ahead or behind in that lane's direction."""
    x, y, c, sn, _, cap = pose_at(t, lane, s)
    apart = _APART_M + cap * max(traits[a, HEADWAY_S], _ONE)
    for j in range(f.shape[1]):
        if j == a or not n[ALIVE, j] or (n[KIND, j] == _WALKER) != (n[KIND, a] == _WALKER):
            continue
        reach = _HALF * (f[LENGTH_M, a] + f[LENGTH_M, j])
        if n[LANE, j] == lane and abs(f[S_M, j] - s) < reach + apart:
            return False
        dx, dy = f[X_M, j] - x, f[Y_M, j] - y
        if abs(dx * c + dy * sn) < reach + apart and abs(dy * c - dx * sn) < _HALF * (f[WIDTH_M, a] + f[LENGTH_M, j]):
            return False
    return True


@kernel
def draw_place(t: Tables, p: Places, f: Floats, n: Ints, z: Words, a: int, walks: bool, salt: int) -> tuple[int, float]:
    """(lane, s): uniform along a map's lanes for driving or walking, junctions left out; (−1, 0): there are none."""
    m = int(z[MAP])
    use = 1 if walks else 0
    low, high = p.map_n[m, DRIVES + 2 * use], p.map_n[m, DRIVES_END + 2 * use]
    if high <= low:
        return NOWHERE, _ZERO
    at = uniform(z[KEY], z[TICK], a * 64 + salt + (1 << 20)) * p.spawn_upto_m[high - 1]
    k, top = low, high - 1
    while k < top:
        middle = (k + top) // 2
        if p.spawn_upto_m[middle] > at:
            top = middle
        else:
            k = middle + 1
    lane = p.spawn_lane[k]
    s = at - (p.spawn_upto_m[k - 1] if k > low else _ZERO)
    if not walks:
        s = min(max(s, _OFF_M), t.lane_f[lane, LANE_M] - _END_M)
    return lane, s


@kernel
def settle(
    t: Tables,
    p: Places,
    f: Floats,
    n: Ints,
    z: Words,
    traits: Floats,
    crowd: Crowd,
    egos: int,
    a: int,
    walks: bool,
    near: bool,
) -> None:
    """Try to put an agent somewhere on its map; where that fails it stays out. Later ones keep out of the egos' sight
    (`near` False)."""
    fast = False
    for attempt in range(TRIES):
        lane, s = draw_place(t, p, f, n, z, a, walks, 1024 * (attempt + 1))
        if lane < 0:
            return
        fast = t.lane_f[lane, LIMIT_MPS] > _FASTEST_LANES_MPS
        if attempt == 0:
            embody(f, n, z, traits, crowd, a, walks, a < egos, fast)
        if t.lane_n[lane, ENDS] or not free(t, f, n, traits, a, lane, s):
            continue
        if not near and _seen(t, f, egos, lane, s):
            continue
        place(t, f, n, z, traits, a, lane, s)
        return


@kernel
def _seen(t: Tables, f: Floats, egos: int, lane: int, s: float) -> bool:
    x, y, _, _, _, _ = pose_at(t, lane, s)
    for e in range(egos):
        dx, dy = f[X_M, e] - x, f[Y_M, e] - y
        if dx * dx + dy * dy < _SIGHT2:
            return True
    return False


@kernel
def come_again(
    t: Tables, p: Places, f: Floats, n: Ints, z: Words, traits: Floats, crowd: Crowd, egos: int, a: int, walks: bool
) -> None:
    """Someone who has left comes in again where roads enter the map, or where nobody looks if none do."""
    m = int(z[MAP])
    low, high = p.map_n[m, ENTRIES], p.map_n[m, ENTRIES_END]
    if walks or high <= low:
        settle(t, p, f, n, z, traits, crowd, egos, a, walks, _UNSEEN)
        return
    pick = low + int(uniform(z[KEY], z[TICK], a * 64 + 46) * np.float32(high - low))
    lane = p.entry_lane[min(pick, high - 1)]
    embody(f, n, z, traits, crowd, a, walks, walks, t.lane_f[lane, LIMIT_MPS] > _FASTEST_LANES_MPS)
    s = _ENTRY_M + _HALF * f[LENGTH_M, a]
    if free(t, f, n, traits, a, lane, s):
        place(t, f, n, z, traits, a, lane, s)


@kernel
def lay_route(t: Tables, f: Floats, n: Ints, z: Words, route: Ints, e: int) -> None:
    """A way for a driver from outside: on and on by chance, never into a lane that ends where another goes on."""
    lane = n[LANE, e]
    count = route.shape[1]
    for k in range(count):
        if lane >= 0 and t.lane_n[lane, ENDS]:
            lane = t.lane_n[lane, LEFT] if t.lane_n[lane, LEFT] >= 0 else t.lane_n[lane, RIGHT]
        route[e, k] = lane
        if lane < 0:
            continue
        ways = 0
        while ways < MOST_LINKS and t.lane_n[lane, FOLLOWING + ways] >= 0:
            ways += 1
        if ways == 0:
            lane = -1
            continue
        pick = int(uniform(z[KEY], _NO_TICK, e * 64 + (2 << 20) + k) * np.float32(ways))
        lane = t.lane_n[lane, FOLLOWING + min(pick, ways - 1)]
    n[ROUTE_AT, e] = 0
    f[ROUTE_S_M, e], f[ROUTE_D_M, e], f[DRIVEN_M, e] = f[S_M, e], f[D_M, e], _ZERO
    n[NEXT_LANE, e] = route[e, 1]
    n[AFTER_LANE, e] = route[e, 2]
    n[SHOWN_LANE, e] = n[NEXT_LANE, e]
    n[HIT, e] = -1
    n[FAULT, e] = 0

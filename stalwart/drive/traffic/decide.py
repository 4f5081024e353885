"""What a driver or walker asks of its body: acceleration and steering angle; and when it changes lanes."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.chance import uniform
from stalwart.drive.compiled import Whole, part, single
from stalwart.drive.geometry.lanes import Control
from stalwart.drive.geometry.tables import (
    BROAD_M,
    CAP,
    CONTROL,
    ENDS,
    FIRST,
    FOLLOWING,
    LANE_M,
    LEFT,
    LIMIT_MPS,
    MOST_LINKS,
    RIGHT,
    Tables,
    pose_at,
)
from stalwart.drive.scene import Class
from stalwart.drive.traffic.around import (
    BEND,
    COS,
    FAR,
    FIRST_LANE,
    LANE_BEND,
    LANE_COS,
    LANE_MPS,
    LANE_SIN,
    NEAR_M,
    NEAR_MPS,
    NOWHERE,
    OFF_RAD,
    SIN,
    WHEELBASE_M,
    Floats,
    Links,
    follower,
    leader,
)
from stalwart.drive.traffic.drivers import (
    ACCEL_MPS2,
    BRAKE_MPS2,
    DESIRE,
    DISTRACTED,
    GAP_M,
    HARD_BRAKES_PER_S,
    HEADWAY_S,
    JAYWALKS_PER_S,
    POLITENESS,
    SAFE_BRAKE_MPS2,
    THRESHOLD_MPS2,
    WRONG_SIGNAL,
)  # fmt: skip
from stalwart.drive.traffic.following import change_pays, idm
from stalwart.drive.traffic.yielding import way_to_stop
from stalwart.drive.world.angles import angle_of
from stalwart.drive.world.bicycle import steer_for
from stalwart.drive.world.state import (
    AFTER_LANE,
    D_M,
    KEY,
    KIND,
    LANE,
    LENGTH_M,
    NEXT_LANE,
    S_M,
    SHOWN_LANE,
    SPEED_MPS,
    STOPPED_FOR,
    TARGET_D_M,
    TICK,
    WAITED_S,
    WANTED_ACCEL_MPS2,
    WANTED_STEER_RAD,
    X_M,
    Y_M,
    Ints,
    Words,
)

_ZERO, _HALF, _ONE, _TWO, _TEN = single(0.0), single(0.5), single(1.0), single(2.0), single(10.0)
_WALKER, _CYCLIST = int(Class.PEDESTRIAN), int(Class.CYCLIST)
_STOP, _ALL_WAY = int(Control.STOP), int(Control.ALL_WAY_STOP)
_LOOK_S, _SETTLE_S, _SHORTEST_M, _ASIDE_MPS = single(0.3), single(0.9), single(3.0), single(1.5)
_STEEPEST, _STEEPEST_WALKER = single(0.5), single(1.45)
_CYCLIST_MPS, _WALK_MPS = single(5.5), single(1.6)
_STANDS_MPS, _AT_LINE_M, _SUDDEN_MPS2, _SIXTH = single(0.3), single(7.0), single(-6.0), single(0.6)
_SETTLED_M, _CLEAR_M, _BEND_M, _END_M = single(0.6), single(0.5), single(30.0), single(120.0)
_EASE_MPS2, _SWING_M, _OVER_S = single(1.1), single(4.0), single(4.0)
_LOOMS_S = single(1.2)
"""Time to collision at which who looks away sees it coming."""
_FORCED, _FORCED_BRAKE = single(-20.0), single(5.0)
_NEXT_SALT: Whole = np.int64(42)
AFTER_SALT: Whole = np.int64(43)
_SHOWN_SALT: Whole = np.int64(44)
_BURST = 20
"""Ticks that a driver looks away, or brakes for no reason, at a time."""


@part
def steer(t: Tables, f: Floats, n: Ints, egos: int, notes: Floats) -> None:
    """Write the steering angle that each agent of traffic wants, and of `notes` the rows from `LANE_COS` on.

    Back to the middle of the lane: a course towards it in proportion to the distance, turned onto in proportion to the
    difference, both over a length that grows with speed; d'' + 2 d' / ℓ + 2 d / ℓ² = 0 along the lane.
    """
    first, count = np.uint64(egos), np.uint64(f.shape[1])
    for a in range(first, count):  # by itself, so that several fetches are under way at once
        _, _, c, sn, curvature, cap = pose_at(t, max(n[LANE, a], FIRST_LANE), f[S_M, a] + f[SPEED_MPS, a] * _LOOK_S)
        notes[LANE_COS, a], notes[LANE_SIN, a], notes[LANE_BEND, a], notes[LANE_MPS, a] = c, sn, curvature, cap
    for a in range(first, count):
        # The course of the middle: heading plus slip.
        slip = _HALF * notes[BEND, a]
        ahead, left = notes[COS, a] - notes[SIN, a] * slip, notes[SIN, a] + notes[COS, a] * slip
        cross = left * notes[LANE_COS, a] - ahead * notes[LANE_SIN, a]
        dot = ahead * notes[LANE_COS, a] + left * notes[LANE_SIN, a]
        notes[OFF_RAD, a] = angle_of(cross, dot)
    for a in range(first, count):
        speed, walks, curvature = f[SPEED_MPS, a], n[KIND, a] == _WALKER, notes[LANE_BEND, a]
        length = max(speed * _SETTLE_S, _ONE if walks else _SHORTEST_M)
        steepest = _STEEPEST_WALKER if walks else min(_STEEPEST, _ASIDE_MPS / max(speed, _ONE))
        wanted = min(max((f[TARGET_D_M, a] - f[D_M, a]) / length, -steepest), steepest)
        # The lane's direction is that of where the agent will be shortly; here it still points the other way of the
        # bend.
        off = notes[OFF_RAD, a] + curvature * speed * _LOOK_S
        f[WANTED_STEER_RAD, a] = steer_for(curvature + _TWO * (wanted - off) / length, notes[WHEELBASE_M, a])


@part
def decide(
    t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int, time_s: float, dt: float, base: int,
    head: Links, link: Links, notes: Floats,
) -> None:  # fmt: skip
    """Write the acceleration that agent `a` of a world wants."""
    speed, lane, s = f[SPEED_MPS, a], n[LANE, a], f[S_M, a]
    walks, cap = n[KIND, a] == _WALKER, notes[LANE_MPS, a]
    key, tick = z[KEY], z[TICK]
    then = n[NEXT_LANE, a]
    if then >= 0:  # a bend to come, which only those who turn into it slow down for
        bend = t.samples[t.lane_n[then, FIRST], CAP]
        cap = min(cap, math.sqrt(bend * bend + _TWO * _EASE_MPS2 * max(t.lane_f[lane, LANE_M] - s, _ZERO)))
    desired = cap * traits[a, DESIRE]
    if n[KIND, a] == _CYCLIST:
        desired = min(desired, _CYCLIST_MPS)
    if walks:
        desired = min(desired, _WALK_MPS)
    reach = speed * (_TWO + speed * _HALF * _HALF) + _TEN
    headway, accel, brake, standing = (
        traits[a, HEADWAY_S],
        traits[a, ACCEL_MPS2],
        traits[a, BRAKE_MPS2],
        traits[a, GAP_M],
    )
    gap, ahead = FAR, _ZERO
    if not walks:
        gap, ahead, _ = leader(t, f, n, a, lane, s, n[NEXT_LANE, a], n[AFTER_LANE, a], reach * _TWO, base, head, link)
    wanted = idm(speed, desired, gap, ahead, headway, accel, brake, standing)
    near, along = notes[NEAR_M, a], notes[NEAR_MPS, a]
    if near < gap:
        wanted = min(wanted, idm(speed, desired, near, along, headway * _HALF, accel, brake, standing * _HALF))
    looks_away = traits[a, DISTRACTED] > _ZERO and uniform(key, tick // _BURST, a * 64 + 40) < traits[a, DISTRACTED]
    if looks_away and gap >= _LOOMS_S * (speed - ahead) and near >= _LOOMS_S * (speed - along):
        # Foot where it was but not further down; what looms is seen late, in the corner of the eye.
        f[WANTED_ACCEL_MPS2, a] = min(f[ACCEL_MPS2, a], _ZERO)
        return
    stop = way_to_stop(t, f, n, traits, a, time_s, reach, base, head, link)
    if stop < FAR:
        # IDM stands `standing` before what it follows: a stop line may be come nearer to.
        wanted = min(wanted, idm(speed, desired, stop + standing * _SIXTH, _ZERO, _HALF, accel, brake, standing))
    if traits[a, HARD_BRAKES_PER_S] > _ZERO:
        chance = traits[a, HARD_BRAKES_PER_S] * dt * np.float32(_BURST)
        if uniform(key, tick // _BURST, a * 64 + 41) < chance:
            wanted = min(wanted, _SUDDEN_MPS2)
    f[WANTED_ACCEL_MPS2, a] = wanted


@part
def choose_next(t: Tables, f: Floats, n: Ints, z: Words, a: int, lane: int, salt: int) -> int:
    """One of the lanes that follow, by chance; −1 where none does."""
    count = 0
    while count < MOST_LINKS and t.lane_n[lane, FOLLOWING + count] >= 0:
        count += 1
    if count == 0:
        return -1
    pick = int(uniform(z[KEY], z[TICK], a * 64 + salt) * np.float32(count))
    chosen: int = t.lane_n[lane, FOLLOWING + min(pick, count - 1)]
    return chosen


@part
def plan(t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int) -> None:
    """Choose where to go on from the lane that the agent has just come to."""
    n[NEXT_LANE, a] = choose_next(t, f, n, z, a, n[LANE, a], _NEXT_SALT)
    n[AFTER_LANE, a] = -1
    if n[NEXT_LANE, a] >= 0:
        n[AFTER_LANE, a] = choose_next(t, f, n, z, a, n[NEXT_LANE, a], AFTER_SALT)
    show(t, f, n, z, traits, a)


@part
def show(t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int) -> None:
    """Signal the next lane; some signal another one."""
    n[SHOWN_LANE, a] = n[NEXT_LANE, a]
    if traits[a, WRONG_SIGNAL] > _ZERO and n[NEXT_LANE, a] >= 0:
        n[SHOWN_LANE, a] = choose_next(t, f, n, z, a, n[LANE, a], _SHOWN_SALT)


@part
def note_standing(t: Tables, f: Floats, n: Ints, a: int, dt: float) -> None:
    """Count how long an agent stands, and remember the stop line that it has stopped at."""
    if f[SPEED_MPS, a] < _STANDS_MPS:
        f[WAITED_S, a] += dt
        then = n[NEXT_LANE, a]
        rules = then >= 0 and (t.lane_n[then, CONTROL] == _STOP or t.lane_n[then, CONTROL] == _ALL_WAY)
        if rules and t.lane_f[n[LANE, a], LANE_M] - f[S_M, a] - _HALF * f[LENGTH_M, a] < _AT_LINE_M:
            n[STOPPED_FOR, a] = then
    elif f[SPEED_MPS, a] > _TWO:
        f[WAITED_S, a] = _ZERO


@part
def change_lanes(
    t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int, base: int, head: Links, link: Links
) -> None:
    """MOBIL on either side. A lane that ends must be left, the more urgently the nearer its end."""
    lane, s, length = n[LANE, a], f[S_M, a], f[LENGTH_M, a]
    must = t.lane_n[lane, ENDS]
    togo = t.lane_f[lane, LANE_M] - s
    if abs(f[D_M, a] - f[TARGET_D_M, a]) > _SETTLED_M or (not must and togo < _BEND_M):
        return
    speed = f[SPEED_MPS, a]
    desired = min(t.lane_f[lane, LIMIT_MPS], pose_cap(t, lane, s)) * traits[a, DESIRE]
    headway, accel, brake, standing = (
        traits[a, HEADWAY_S],
        traits[a, ACCEL_MPS2],
        traits[a, BRAKE_MPS2],
        traits[a, GAP_M],
    )
    reach = _END_M
    gap, ahead, who = leader(t, f, n, a, lane, s, n[NEXT_LANE, a], n[AFTER_LANE, a], reach, base, head, link)
    if who >= 0 and gap < _SWING_M:  # there is no room to turn out past it
        return
    behind, old = follower(t, f, n, a, lane, s, base, head, link)
    if gap >= FAR and old < 0 and not must:
        return  # alone: nobody gains
    now = idm(speed, desired, gap, ahead, headway, accel, brake, standing)
    old_now, old_then = _ZERO, _ZERO
    if old >= 0:
        old_now = _follow(t, f, n, traits, old, behind, speed)
        old_then = _follow(t, f, n, traits, old, behind + length + gap, ahead)
    for side in range(2):
        other = t.lane_n[lane, LEFT] if side == 0 else t.lane_n[lane, RIGHT]
        if other < 0 or (t.lane_n[other, ENDS] and not must):
            continue
        there = s * t.lane_f[other, LANE_M] / t.lane_f[lane, LANE_M]
        then = t.lane_n[other, FOLLOWING + 0]
        back = RIGHT if side == 0 else LEFT
        if not must and togo < speed * _OVER_S and (then < 0 or t.lane_n[then, back] < 0):
            continue  # the lanes part before it would be over
        room, faster, _ = leader(t, f, n, a, other, there, then, NOWHERE, reach, base, head, link)
        rear, new = follower(t, f, n, a, other, there, base, head, link)
        if room < _CLEAR_M or rear < _CLEAR_M:
            continue
        mine_then = idm(speed, desired, room, faster, headway, accel, brake, standing)
        new_now, new_then = _ZERO, _ZERO
        if new >= 0:
            new_now = _follow(t, f, n, traits, new, rear + length + room, faster)
            new_then = _follow(t, f, n, traits, new, rear, speed)
        urgent = must and togo < reach + speed * _TEN
        threshold = _FORCED if urgent else traits[a, THRESHOLD_MPS2]
        safe = (
            max(traits[a, SAFE_BRAKE_MPS2], _FORCED_BRAKE) if urgent and togo < _BEND_M else traits[a, SAFE_BRAKE_MPS2]
        )
        if change_pays(now, mine_then, new_now, new_then, old_now, old_then, traits[a, POLITENESS], threshold, safe):
            shift = (t.lane_f[lane, BROAD_M] + t.lane_f[other, BROAD_M]) * _HALF
            n[LANE, a], f[S_M, a] = other, there
            f[D_M, a] += -shift if side == 0 else shift
            plan(t, f, n, z, traits, a)
            if togo < speed * _OVER_S and then >= 0:  # too late to turn off too
                n[NEXT_LANE, a] = then
                n[AFTER_LANE, a] = choose_next(t, f, n, z, a, then, AFTER_SALT)
                show(t, f, n, z, traits, a)
            return


@part
def pose_cap(t: Tables, lane: int, s: float) -> float:
    """The speed to keep at a place."""
    return pose_at(t, lane, s)[5]


@part
def _follow(t: Tables, f: Floats, n: Ints, traits: Floats, j: int, gap: float, speed: float) -> float:
    desired = pose_cap(t, n[LANE, j], f[S_M, j]) * traits[j, DESIRE]
    return idm(
        f[SPEED_MPS, j],
        desired,
        gap,
        speed,
        traits[j, HEADWAY_S],
        traits[j, ACCEL_MPS2],
        traits[j, BRAKE_MPS2],
        traits[j, GAP_M],
    )


@part
def jaywalk(t: Tables, f: Floats, n: Ints, z: Words, traits: Floats, a: int, every: float) -> None:
    """Now and then a walker on a sidewalk sets out across the road to the one on the other side, without looking."""
    lane = n[LANE, a]
    left, right = t.lane_n[lane, LEFT], t.lane_n[lane, RIGHT]
    other = left if left >= 0 else right
    if other < 0 or uniform(z[KEY], z[TICK], a * 64 + 45) >= traits[a, JAYWALKS_PER_S] * every:
        return
    there = f[S_M, a] * t.lane_f[other, LANE_M] / t.lane_f[lane, LANE_M]
    x, y, c, sn, _, _ = pose_at(t, other, there)
    away = (f[Y_M, a] - y) * c - (f[X_M, a] - x) * sn
    n[LANE, a], f[S_M, a], f[D_M, a] = other, there, away
    plan(t, f, n, z, traits, a)

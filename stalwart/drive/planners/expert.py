"""The expert: a privileged driver that obeys signals, signs and priority, and keeps the distances of RSS.

It knows what traffic's drivers know of the road (`planners.foresight`), and everyone's speed and course.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.geometry.tables import BROAD_M, ENDS, FOLLOWING, LANE_M, MOST_LINKS
from stalwart.drive.planners.along import Along, along_route, courses, safe_beside_m
from stalwart.drive.planners.foresight import (
    CROSS_S,
    FORESEEN,
    LANE_CURVATURE,
    LANE_D,
    LANE_HEADING,
    LEAD_GAP,
    LEAD_MPS,
    NEAR_GAP,
    NEAR_MPS,
    STOP_WAY,
    foresee,
)
from stalwart.drive.planners.pursuit import CAR, FAR, HARD_MPS2, desired_mps, idm, pursue
from stalwart.drive.planners.rss import rss_distance_on
from stalwart.drive.simulation import Worlds
from stalwart.drive.traffic.drivers import ACCEPTED_S

Doubles = NDArray[np.floating]
Flags = NDArray[np.bool_]
_PROPER_MPS2, _MARGIN, _MARGIN_M = -4.2, 1.05, 1.0
"""RSS's braking while too near, and how much more than its distance is kept."""
_CROSS_S, _LATEST_S = 2.2, 1.0
_HARDLY_MPS2, _IN_BENDS_MPS2 = 4.5, 2.35
"""Who would have to brake harder brakes as hard as it can; what bends and slowing down for them ask of the tyres."""
_PATIENCE_S = 1.8
STOP_MARGIN_M = 1.5
BESIDE_M, COMMITTED_M, _SETTLED_M = 1.2, 2.4, 0.8
_END_M, _END_MPS2 = 6.0, 2.0
"""How far before a lane's end it stands, to have room to turn out; how hard it brakes for that."""


class Foresight:
    """What is foreseen for all drivers from outside, by the patience of an expert."""

    def __init__(self, world: Worlds) -> None:
        self.world = world
        self._out = np.zeros((world.worlds, world.egos, len(FORESEEN)), np.float32)
        self._careful = np.zeros((world.state.agents, world.state.traits.shape[2]), np.float32)
        self._careful[:, ACCEPTED_S] = _PATIENCE_S
        self._dt: Any = np.float32(world.dt_s)

    def __call__(self) -> NDArray[np.float32]:
        """(W, E, 9), see `foresight.FORESEEN`. The same array is written to at each call."""
        world, s = self.world, self.world.state
        foresee(world.tables, world.places.map_n, s.floats, s.ints, s.words, self._careful, self._dt, self._out)
        return self._out


def beside(world: Worlds, route_d: Doubles) -> Flags:
    """(W, E) whether a driver is in another lane than the route goes on in; `route_d` is its distance from that one's
    middle."""
    s, egos = world.state, world.egos
    on = np.take_along_axis(s.route, s.route_at[:, :egos, None].astype(np.int64), -1)[..., 0]
    return np.asarray((np.abs(route_d) > BESIDE_M) & (s.lane[:, :egos] != on))


class Expert:
    """A driver for all worlds: `expert()` gives controls (W, E, 2)."""

    def __init__(self, world: Worlds) -> None:
        self.world = world
        self._foresight = Foresight(world)
        self._moving_over = np.zeros((world.worlds, world.egos), np.bool_)
        self.waits: Flags = np.zeros((world.worlds, world.egos), np.bool_)
        """(W, E) who keeps its lane at the last call, though the route goes on in another."""

    def reset(self, mask: Flags) -> None:
        """Forget which change of lanes was under way, in the worlds of the mask."""
        self._moving_over[mask] = False

    def __call__(self) -> NDArray[np.float32]:
        """(W, E, 2) acceleration [m/s²] and steering angle [rad]."""
        world = self.world
        seen, ahead, near = world.observe(), self._foresight().astype(np.float64), along_route(world)
        grip = world.state.grip_mps2[:, None].astype(np.float64)
        # On ice bends are taken slower, and slowed down for sooner.
        speed = seen[..., 0].astype(np.float64)
        desired = desired_mps(seen) * np.sqrt(np.minimum(0.8 * grip / _IN_BENDS_MPS2, 1.0))
        self.waits = waits = self._waits(near, speed, seen[..., 3])
        ends = self._ends(ahead)
        accel = np.minimum(
            idm(speed, desired, np.where(ends, FAR, ahead[..., LEAD_GAP]), ahead[..., LEAD_MPS]),
            idm(speed, desired, np.maximum(ahead[..., NEAR_GAP], 0.1), ahead[..., NEAR_MPS]),
        )
        # Speed finds the next gap sooner: before a lane's end it is kept until braking must begin.
        brake = -(speed**2) / (2 * np.maximum(ahead[..., LEAD_GAP] - _END_M, 0.1))
        end = ends & ~self._moving_over & (brake < -_END_MPS2)
        accel = np.where(end, np.minimum(accel, np.where(speed > 0.3, brake, -1.0)), accel)
        # IDM stands 2.5 m before what it follows: a stop line may be come nearer to.
        stop = idm(speed, desired, np.maximum(ahead[..., STOP_WAY] + STOP_MARGIN_M, 0.1), np.zeros_like(speed))
        accel = np.minimum(accel, stop)
        gap, theirs = self._in_the_way(near)
        accel = np.minimum(accel, idm(speed, desired, np.maximum(gap, 0.1), theirs))
        accel = np.where(waits, np.minimum(accel, self._beside(near, speed, desired, seen[..., 3])), accel)
        safe = _MARGIN * rss_distance_on(grip, speed, theirs) + _MARGIN_M
        accel = np.where((gap < safe) & (speed > 0.3), np.minimum(accel, _PROPER_MPS2), accel)
        closing = np.maximum(speed - theirs, 0.1)
        late = gap / closing < _LATEST_S
        late |= closing**2 / (2 * np.maximum(gap - 0.5, 0.1)) > np.minimum(_HARDLY_MPS2, 0.85 * grip)
        crossed = ahead[..., CROSS_S] < _CROSS_S
        accel = np.where((late | crossed) & (speed > 0.3), HARD_MPS2, accel)
        keeps = waits | (self._parts() & (np.abs(seen[..., 3]) < BESIDE_M))
        return np.stack([accel, steer_along(seen, ahead, keeps)], -1).astype(np.float32)

    def _ends(self, ahead: Doubles) -> Flags:
        """(W, E) whether what is next ahead on the lane is its end, where one beside it goes on."""
        s, egos, t = self.world.state, self.world.egos, self.world.tables
        lane = s.lane[:, :egos]
        rest = t.lane_f[lane, LANE_M] - s.s_m[:, :egos] - s.length_m[:, :egos] / 2
        return np.asarray((t.lane_n[lane, ENDS] != 0) & (np.abs(ahead[..., LEAD_GAP] - rest) < 0.1))

    def _in_the_way(self, near: Along) -> tuple[Doubles, Doubles]:
        """(W, E) gap to the next one on the route who is not clear of it by RSS's lateral distance, and its speed."""
        along, across = courses(self.world)
        found = (near.ahead_m > 0) & (near.ahead_m < FAR) & (near.beside_m < safe_beside_m(near, across))
        gaps = np.where(found, near.clear_m, FAR)
        who = gaps.argmin(-1)[..., None]
        theirs = np.take_along_axis(np.maximum(along, 0.0), who, -1)[..., 0]
        return np.take_along_axis(gaps, who, -1)[..., 0], theirs

    def _waits(self, near: Along, speed: Doubles, route_d: Doubles) -> Flags:
        """(W, E) whether it is beside the lane to be in and nobody has made room there yet."""
        aside = beside(self.world, route_d)
        theirs = self.world.state.speed_mps[:, None] + 0 * near.ahead_m
        mine = speed[..., None]
        there = self._there(near, route_d)
        faster = np.where(near.ahead_m > 0, mine - theirs, theirs - mine)
        rear = np.where(near.ahead_m > 0, mine, theirs)
        needs = 3.0 + 0.4 * rear + np.maximum(faster, 0.0) ** 2 / (2 * 2.5)
        room = ~(there & (near.clear_m < needs)).any(-1)
        # Once half over it goes on; before that it thinks again.
        self._moving_over = aside & ((self._moving_over & (np.abs(route_d) < COMMITTED_M)) | room)
        return np.asarray(aside & ~self._moving_over)

    def _there(self, near: Along, route_d: Doubles) -> Flags:
        """(W, E, N) who is in the lane to be in."""
        s, egos = self.world.state, self.world.egos
        broad = self.world.tables.lane_f[s.lane[:, :egos], BROAD_M]
        return np.asarray((near.ahead_m < FAR) & (np.abs(near.aside_m + route_d[..., None]) < broad[..., None] / 2))

    def _beside(self, near: Along, speed: Doubles, desired: Doubles, route_d: Doubles) -> Doubles:
        """(W, E) acceleration that lets it fall in behind whoever is beside or ahead in the lane to be in."""
        s = self.world.state
        there = self._there(near, route_d) & (near.ahead_m > -6.0)
        gaps = np.where(there, np.maximum(near.clear_m, 0.1), FAR)
        who = gaps.argmin(-1)[..., None]
        theirs = np.take_along_axis(s.speed_mps[:, None] + 0 * near.ahead_m, who, -1)[..., 0]
        return np.asarray(np.maximum(idm(speed, desired, np.take_along_axis(gaps, who, -1)[..., 0], theirs), -2.0))

    def _parts(self) -> Flags:
        """(W, E) whether the route goes on in a lane that does not follow the one it is in but lies beside what does:
        it is changed to when there is room, and not driven to across whoever is there.
        """
        s, egos, t = self.world.state, self.world.egos, self.world.tables
        at = s.route_at[:, :egos, None].astype(np.int64)
        on = np.take_along_axis(s.route, at, -1)[..., 0]
        then = np.take_along_axis(s.route, np.minimum(at + 1, s.route.shape[2] - 1), -1)
        follows = (t.lane_n[on, FOLLOWING : FOLLOWING + MOST_LINKS] == then).any(-1)
        return np.asarray((then[..., 0] >= 0) & ~follows)


def steer_along(seen: NDArray[np.float32], ahead: Doubles, waits: Flags) -> Doubles:
    """(W, E) steering angle along the path; while it is beside the lane to be in, in its own or gently over to it."""
    speed, d = seen[..., 0], seen[..., 3]
    length = np.maximum(0.9 * speed, 3.0)
    steepest = np.minimum(0.5, 1.2 / np.maximum(speed, 1.0))
    off = np.where(waits, ahead[..., LANE_D], d)
    heading = np.where(waits, ahead[..., LANE_HEADING], seen[..., 4])
    wanted = np.clip(-off / length, -steepest, steepest)
    curvature = ahead[..., LANE_CURVATURE] + 2 * (wanted - heading) / length
    gently: Doubles = np.arctan(curvature * CAR.wheelbase_m)
    return np.where(waits | (np.abs(d) > _SETTLED_M), gently, pursue(seen))

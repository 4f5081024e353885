"""Who is where along a driver's route: lanes of the route and those beside it, seen from the driver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.geometry.tables import BROAD_M, LANE_M, LEADING, LEFT, MOST_LINKS, RIGHT
from stalwart.drive.planners.rss import rss_lateral_distance
from stalwart.drive.simulation import Worlds

Doubles = NDArray[np.float64]
FAR = 1e3


@dataclass(frozen=True)
class Along:
    """For each driver from outside all agents, (W, E, N); `FAR` away: itself, and who is on none of these lanes."""

    ahead_m: Doubles
    """From the driver's middle to the other's along the route; negative behind."""
    aside_m: Doubles
    """From the driver's middle to the other's across the route, left is positive."""
    clear_m: Doubles
    """From bumper to bumper; negative where they overlap along the route."""
    beside_m: Doubles
    """From flank to flank; negative where they overlap across it."""


def along_route(world: Worlds) -> Along:
    """Everyone on the route's lanes from a lane before the driver's on, on those beside them that lead the same way,
    and on the lanes that lead into the one the driver is in.

    Positions are the lanes' own: exact where lanes run parallel, and blind to who only crosses the route.
    """
    s, t = world.state, world.tables
    worlds, egos, agents = s.worlds, s.egos, s.agents
    at = np.arange(s.route.shape[2])
    known = s.route >= 0
    route = np.where(known, s.route, 0)
    length = np.where(known, t.lane_f[route, LANE_M], 0.0)
    upto = np.cumsum(length, -1) - length
    here = s.route_at[:, :egos, None]
    start = upto - np.take_along_axis(upto, here.astype(np.int64), -1) - s.route_s_m[:, :egos, None]
    near = known & (at >= here - 1)
    ahead = np.full((worlds, egos, agents), FAR)
    aside = np.full((worlds, egos, agents), FAR)
    for side in (0, 1, -1):
        lanes = route if side == 0 else t.lane_n[route, LEFT if side > 0 else RIGHT]
        shift = side * (t.lane_f[route, BROAD_M] + t.lane_f[np.maximum(lanes, 0), BROAD_M]) / 2
        found = (lanes[..., None] == s.lane[:, None, None]) & (near & (lanes >= 0))[..., None]  # (W, E, R, N)
        which = found.argmax(2)
        any_ = found.any(2) & (aside == FAR)
        # Lanes side by side differ a little in length.
        share = length / np.maximum(t.lane_f[np.maximum(lanes, 0), LANE_M], 0.1)
        place = np.take_along_axis(start, which, -1) + np.take_along_axis(share, which, -1) * s.s_m[:, None]
        across = np.take_along_axis(shift, which, -1) + s.d_m[:, None] - s.route_d_m[:, :egos, None]
        ahead, aside = np.where(any_, place, ahead), np.where(any_, across, aside)
    # Who comes behind on another way into the lane that the driver is in or beside.
    now = np.take_along_axis(route, here.astype(np.int64), -1)
    for k in range(MOST_LINKS):
        lanes = t.lane_n[now, LEADING + k]  # (W, E, 1)
        if (lanes < 0).all():
            break
        found = (lanes == s.lane[:, None]) & (lanes >= 0) & (aside == FAR)
        behind = s.s_m[:, None] - t.lane_f[np.maximum(lanes, 0), LANE_M] - s.route_s_m[:, :egos, None]
        ahead = np.where(found, behind, ahead)
        aside = np.where(found, s.d_m[:, None] - s.route_d_m[:, :egos, None], aside)
    gone = (s.alive == 0)[:, None] | (np.arange(agents) == np.arange(egos)[:, None])
    ahead, aside = np.where(gone, FAR, ahead), np.where(gone, FAR, aside)
    turn = s.yaw_rad[:, None] - s.yaw_rad[:, :egos, None]
    deep, broad = (
        (np.abs(np.cos(turn)) * a[:, None] + np.abs(np.sin(turn)) * b[:, None]) / 2
        for a, b in ((s.length_m, s.width_m), (s.width_m, s.length_m))
    )
    clear = np.abs(ahead) - deep - s.length_m[:, :egos, None] / 2
    beside = np.abs(aside) - broad - s.width_m[:, :egos, None] / 2
    return Along(ahead, aside, clear, beside)


def courses(world: Worlds) -> tuple[Doubles, Doubles]:
    """(W, E, N) everyone's speed along and across each driver's heading; across is positive to the left."""
    s = world.state
    turn = s.yaw_rad[:, None] - s.yaw_rad[:, : s.egos, None]
    return s.speed_mps[:, None] * np.cos(turn), s.speed_mps[:, None] * np.sin(turn)


def safe_beside_m(near: Along, across_mps: Doubles) -> Doubles:
    """(W, E, N) the least gap from flank to flank that RSS asks for to someone of that speed across the heading."""
    still = np.zeros_like(across_mps)
    left = rss_lateral_distance(-across_mps, still)
    return np.where(near.aside_m > 0, left, rss_lateral_distance(still, -across_mps))

"""A stage: worlds side by side in which everyone stands where a scenario puts them, and a script for its actors.

Actors are drivers from outside: the first driver of each world is the one under test, those after it are moved by the
script. So traffic takes an actor for what it is, a body that may do anything, and its body keeps its limits.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.drive.compiled import single
from stalwart.drive.geometry.lanes import Control, RoadMap, expect_choice
from stalwart.drive.geometry.tables import CAP, CONTROL, FIRST, LANE_M, LANES, LAST, SIGNAL
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Surface, Worlds, make
from stalwart.drive.traffic.step import clock
from stalwart.drive.world.bodies import BODIES

Floats = NDArray[np.float32]
Script = Callable[[Worlds, float], Floats]
"""(world, seconds since the start) → (W, E − 1, 2): acceleration [m/s²] and steering angle [rad] of the actors."""
Variant = Mapping[str, float | str]

STANDS_S = 3.0
"""How long one stands at a stop sign where nobody comes."""
SPLITS = {"train": 0, "test": 1000}
"""The first seed of each split's maps; a test's maps are never trained on."""


@dataclass(frozen=True, eq=False)
class Stage:
    """W worlds ready to be driven once."""

    world: Worlds
    seconds: float
    """The time limit."""
    goal_m: Floats
    """(W,) how far along its route the driver under test is to come."""
    variants: tuple[Variant, ...]
    """(W,) what is swept, by name with the unit."""
    script: Script | None = None
    """Moves the actors; None where there are none."""
    facts: Callable[[], list[dict[str, Any]]] | None = None
    """(W,) what turned out on the way, told at the end."""

    def __post_init__(self) -> None:
        s = self.world.state
        if len(self.variants) != s.worlds or self.goal_m.shape != (s.worlds,):
            raise InputError(
                f"Stage: expected variants and goals for {s.worlds} worlds. Got {len(self.variants)} and "
                f"{self.goal_m.shape}."
            )
        if (s.egos > 1) != (self.script is not None):
            raise InputError(f"Stage: actors need a script, and a script actors. Got {s.egos - 1} actors.")


def map_seeds(split: str, count: int) -> range:
    """Seeds of the maps of a split.

    Raises:
        InputError: no such split.
    """
    first = SPLITS[expect_choice("stage(split=...)", split, tuple(SPLITS))]
    return range(first, first + count)


@functools.lru_cache(maxsize=16)
def built(spelled: str) -> RoadMap:
    """The map of a spelling; built once for all the scenarios that play on it."""
    roads: RoadMap = catalog.make(spelled, "roads").build()
    return roads


def swept(axes: Mapping[str, Sequence[float]], draws: int, seed: int) -> list[dict[str, float]]:
    """All combinations of the axes' values; with `draws`, so many points drawn evenly between their extremes.

    Raises:
        InputError: an axis without a value.
    """
    for name, values in axes.items():
        if not values:
            raise InputError(f"scenario: {name} needs at least one value. Got none.")
    if not draws:
        return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    random = np.random.default_rng(seed_of(seed, "sweep", *axes))
    low, high = ([f(values) for values in axes.values()] for f in (min, max))
    points = low + (np.array(high) - low) * random.random((draws, len(axes)))
    return [dict(zip(axes, map(float, point), strict=True)) for point in points]


def worlds_of(
    roads: Sequence[str], variants: Sequence[Variant], seed: int, *, actors: int = 0, traffic: int = 0,
    style: str = "sun", surface: Surface = "dry",
) -> tuple[Worlds, tuple[Variant, ...]]:  # fmt: skip
    """Each variant on each of the maps, and what is swept in each world. Nobody is in place yet but `traffic` drivers
    for later use, who are timid and free of failings; all others are off the map. `style` is what cameras
    see, `surface` what tyres grip.
    """
    world = make(
        [built(one) for one in roads], len(variants) * len(roads), agents=1 + actors + traffic, walkers=0,
        egos=1 + actors, traffic="timid", seed=seed, style=style, surface=surface,
    )  # fmt: skip
    world.state.alive[:] = 0
    return world, tuple({**variant, "map": spelled} for variant in variants for spelled in roads)


def put(
    world: Worlds, w: int, agent: int, lane: int, s_m: float, speed_mps: float, *, d_m: float = 0.0,
    route: Sequence[int] = (), kind: Class = Class.CAR, turn_rad: float = 0.0,
) -> None:  # fmt: skip
    """Place an agent of world `w` at arc length `s_m` of a lane, `d_m` to the left of its middle.

    Args:
        lane: numbered within the map, as all lanes here.
        route: the lanes that it takes next; after them the first that follows, to the end.
        turn_rad: its heading against the lane's: π drives against it.
    """
    m = int(world.state.words[w, 2])
    roads, base = world.maps[m], int(world.places.map_n[m, LANES])
    lanes = way_on(world, w, [lane, *route])
    while s_m > roads.lanes[lanes[0]].line.length_m and len(lanes) > 1:
        s_m -= roads.lanes[lanes.pop(0)].line.length_m
    x, y, yaw, curvature = roads.lanes[lanes[0]].line.poses(s_m)[0]
    s, body = world.state, BODIES[kind]
    s.kind[w, agent], s.alive[w, agent] = kind, 1
    s.length_m[w, agent], s.width_m[w, agent], s.height_m[w, agent] = body.length_m, body.width_m, body.height_m
    s.x_m[w, agent], s.y_m[w, agent] = x - math.sin(yaw) * d_m, y + math.cos(yaw) * d_m
    s.yaw_rad[w, agent], s.speed_mps[w, agent] = yaw + turn_rad, speed_mps
    s.accel_mps2[w, agent], s.waited_s[w, agent], s.stopped_for[w, agent] = 0.0, 0.0, -1
    s.steer_rad[w, agent] = math.atan(curvature * body.wheelbase_m) * math.cos(turn_rad)
    s.s_m[w, agent], s.d_m[w, agent], s.target_d_m[w, agent] = s_m, d_m, d_m
    ahead = [base + k for k in lanes] + [-1, -1]
    s.lane[w, agent], s.next_lane[w, agent], s.after_lane[w, agent] = ahead[:3]
    s.shown_lane[w, agent] = ahead[1]
    if agent < s.egos:
        s.route[w, agent] = -1
        count = min(len(lanes), s.route.shape[2])
        s.route[w, agent, :count] = ahead[:count]
        s.route_at[w, agent], s.route_s_m[w, agent], s.route_d_m[w, agent] = 0, s_m, d_m
        s.driven_m[w, agent], s.hit[w, agent], s.fault[w, agent] = 0.0, -1, 0


def way_on(world: Worlds, w: int, lanes: Sequence[int]) -> list[int]:
    """The lanes given, then the first that follows, on and on until the road ends or comes round."""
    roads = world.maps[int(world.state.words[w, 2])]
    way = list(lanes)
    while roads.lanes[way[-1]].successors and len(way) < world.state.route.shape[2]:
        way.append(roads.lanes[way[-1]].successors[0])
    return way


def set_green(world: Worlds, w: int, lane: int, into_s: float) -> None:
    """Set a world's clock so that the signal of a lane, numbered within the map, has been green for that long.

    Raises:
        InputError: a lane without a signal.
    """
    m = int(world.state.words[w, 2])
    here = int(world.places.map_n[m, LANES]) + lane
    signal = int(world.tables.lane_n[here, SIGNAL])
    if signal < 0:
        raise InputError(f"set_green: lane {lane} of {world.maps[m].name} has no signal.")
    period, start = (float(v) for v in world.tables.signal_s[signal, :2])
    now = float(clock(world.state.words[w], single(world.dt_s)))
    later = (start + into_s - now) % period
    world.state.words[w, 1] += np.uint64(round(later / world.dt_s))


def lawful_way_m(world: Worlds, seconds: float) -> Floats:
    """(W,) how far the first driver would come along its route in a time, alone, at the speeds to be driven there; it
    stands at red, and `STANDS_S` at a stop sign. At most to the route's end.
    """
    t, s = world.tables, world.state
    out = np.zeros(s.worlds, np.float32)
    for w in range(s.worlds):
        left, at = seconds, float(s.route_s_m[w, 0])
        now = float(clock(s.words[w], single(world.dt_s)))
        for number, lane in enumerate(s.route[w, 0]):
            if lane < 0:
                break
            if number:  # whoever starts within a junction is past its line
                left -= _stands_s(world, int(lane), now + seconds - left)
                if left <= 0:
                    break
            first, last = int(t.lane_n[lane, FIRST]), int(t.lane_n[lane, LAST])
            places = np.linspace(0.0, float(t.lane_f[lane, LANE_M]), last - first + 1)
            slowness = 1 / np.maximum(t.samples[first : last + 1, CAP], 1.0)
            way = np.append(at, places[places > at])
            slow = np.interp(way, places, slowness)
            took = np.append(0.0, np.cumsum(np.diff(way) * (slow[1:] + slow[:-1]) / 2))
            out[w] += np.interp(left, took, way) - at
            if left < took[-1]:
                break
            left, at = left - float(took[-1]), 0.0
    return out


def _stands_s(world: Worlds, lane: int, time_s: float) -> float:
    """Seconds before the line of a lane for who comes there alone at a time on the world's clock."""
    control, signal = int(world.tables.lane_n[lane, CONTROL]), int(world.tables.lane_n[lane, SIGNAL])
    if control == Control.SIGNAL:
        period, start, green, _ = (float(v) for v in world.tables.signal_s[signal])
        into = (time_s - start) % period
        return 0.0 if into < green else period - into
    return STANDS_S if control in (Control.STOP, Control.ALL_WAY_STOP) else 0.0

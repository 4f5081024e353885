"""One tick of all worlds: decide, move, keep track of lanes, see who touches whom, come and go."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.chance import mixed, uniform
from stalwart.drive.compiled import Whole, free_kernel, part, single
from stalwart.drive.geometry.tables import LANES, LANES_END, LEFT, RIGHT, Places, Tables, project
from stalwart.drive.threads import share
from stalwart.drive.traffic.around import FAR, FIRST_LANE, NOTES, Floats, Links, hang, note
from stalwart.drive.traffic.decide import change_lanes, decide, jaywalk, steer
from stalwart.drive.traffic.drivers import Crowd
from stalwart.drive.traffic.motion import move_all
from stalwart.drive.traffic.spawn import come_again, lay_route, settle
from stalwart.drive.traffic.strip import look
from stalwart.drive.traffic.touch import touch
from stalwart.drive.traffic.track import NOW_D_M, NOW_S_M, track, track_ego
from stalwart.drive.world.state import (
    ALIVE,
    HIT,
    KEY,
    LANE,
    MAP,
    S_M,
    TICK,
    X_M,
    Y_M,
    Ints,
    Words,
)  # fmt: skip

_PHASE_S = single(120.0)
_EVERY, _EVERY_F = 10, single(10.0)
"""Ticks between two thoughts of changing lanes, or of crossing the road."""
_ONE_TICK: Whole = np.uint64(1)
_NO_TICK: Whole = np.uint64(0)
_PHASE: Whole = np.int64(47)
_ANYWHERE: Whole = np.bool_(True)


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
    most, agents = 0, floats.shape[2]
    for m in range(p.map_n.shape[0]):
        most = max(most, p.map_n[m, LANES_END] - p.map_n[m, LANES])
    head, link, order = np.empty(most, np.int32), np.empty(agents, np.int32), np.empty(agents, np.int32)
    notes = np.empty((NOTES, agents), np.float32)
    for i in range(first, last):
        tick(
            t, p, floats[i], ints[i], words[i], routes[i], traits[i], grip[i], crowd, walkers, dt, head, link, order,
            notes,
        )  # fmt: skip


@part
def tick(
    t: Tables, p: Places, f: Floats, n: Ints, z: Words, route: Ints, mine: Floats, grip: float, crowd: Crowd,
    walkers: int, dt: float, head: Links, link: Links, order: Links, notes: Floats,
) -> None:  # fmt: skip
    """One world a tick on.

    Args:
        head, link, order, notes: scratch: (lanes of the largest map,), (N,), (N,) int32, and see `around.NOTES`.
    """
    egos, agents, m = route.shape[0], f.shape[1], int(z[MAP])
    base = p.map_n[m, LANES]
    hang(f, n, base, head, link, order, FAR)
    note(f, n, notes)
    steer(t, f, n, egos, notes)
    look(f, n, egos, notes, order)
    time_s = clock(z, dt)
    turn = int(z[TICK])
    for a in range(egos, agents):
        if n[ALIVE, a]:
            decide(t, f, n, z, mine, a, time_s, dt, base, head, link, notes)
    for a in range(egos, agents - walkers):
        lane = n[LANE, a]
        if n[ALIVE, a] and (turn + a) % _EVERY == 0 and (t.lane_n[lane, LEFT] >= 0 or t.lane_n[lane, RIGHT] >= 0):
            change_lanes(t, f, n, z, mine, a, base, head, link)
    move_all(f, n, notes, grip, dt)
    for a in range(np.uint64(agents)):  # by itself, so that several fetches are under way at once
        notes[NOW_S_M, a], notes[NOW_D_M, a] = project(t, max(n[LANE, a], FIRST_LANE), f[S_M, a], f[X_M, a], f[Y_M, a])
    for a in range(agents):
        if n[ALIVE, a]:
            if a < egos:
                track_ego(t, f, n, route, a, dt)
            else:
                track(t, f, n, z, mine, a, dt, notes)
    for a in range(max(agents - walkers, egos), agents):
        if n[ALIVE, a] and (turn + a) % _EVERY == 0:
            jaywalk(t, f, n, z, mine, a, dt * _EVERY_F)
    for e in range(egos):
        if n[ALIVE, e] and n[HIT, e] < 0:
            touch(t, p, f, n, e, m)
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
            begin(t, p, floats[i], ints[i], words[i], routes[i], traits[i], crowd, walkers, keys[i], episode[i])


@part
def begin(
    t: Tables, p: Places, f: Floats, n: Ints, z: Words, route: Ints, mine: Floats, crowd: Crowd, walkers: int,
    key: Whole, episode: Whole,
) -> None:  # fmt: skip
    """An episode of one world begins."""
    egos, agents = route.shape[0], f.shape[1]
    z[KEY] = mixed(key + episode)
    z[TICK] = _NO_TICK
    n[ALIVE, :] = 0
    for a in range(agents):
        settle(t, p, f, n, z, mine, crowd, egos, a, a >= agents - walkers, _ANYWHERE)
        if a < egos:
            lay_route(t, f, n, z, route, a)
    z[TICK] = _ONE_TICK

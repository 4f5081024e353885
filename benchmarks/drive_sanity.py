"""Whether traffic is sane: simulated kilometres of timid and of mixed drivers on each family of roads.

    python benchmarks/drive_sanity.py [--km 1000] [--families motorway rural ...] [--traffic timid mixed]

Counted over all vehicles of traffic: kilometres; those that begin to touch another body (a contact of two counts
twice), and of these the ones with nobody among the world's touching who is distracted, brakes for no reason, runs reds,
signals wrongly or walks; those whose middle comes out of their lane and of the one beside it that leads the same way,
into which they may be changing; their mean speed; and the flow: how often a lane's middle is passed, beside density ×
speed summed up lane by lane, with which a stationary flow agrees.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from stalwart.drive import make
from stalwart.drive.geometry.tables import BROAD_M, LANE_M, LEFT, RIGHT
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Worlds
from stalwart.drive.traffic.drivers import DISTRACTED, HARD_BRAKES_PER_S, RUNS_RED, WRONG_SIGNAL
from stalwart.drive.traffic.touch import touching

FAMILIES = {
    "motorway": ("motorway(seed={})", 24, 0), "rural": ("rural(seed={})", 20, 0),
    "roundabout": ("roundabout(seed={})", 12, 0), "crossroads": ("crossroads(seed={})", 16, 4),
    "town": ("town(seed={}, blocks=2)", 32, 6),
}  # fmt: skip
_WARM, _WORLDS, _MAPS = 100, 48, 4


def vehicles(world: Worlds) -> np.ndarray:
    """(W, N) who is part of traffic and drives: neither the driver from outside nor walkers."""
    alive = world.state.alive != 0
    alive[:, 0] = False
    return np.asarray(alive & (world.state.kind != Class.PEDESTRIAN))


def astray(world: Worlds) -> np.ndarray:
    """(W, N) whose middle is neither in its lane nor in the one beside it, on that side, that leads the same way."""
    s, t = world.state, world.tables
    side = np.where(s.d_m > 0, t.lane_n[s.lane, LEFT], t.lane_n[s.lane, RIGHT])
    room = t.lane_f[s.lane, BROAD_M] / 2 + np.where(side >= 0, t.lane_f[side, BROAD_M], 0)
    return np.asarray(np.abs(s.d_m) > room)


def failing(world: Worlds) -> np.ndarray:
    """(W, N) who has one of the failings that traffic is given on purpose, and who walks."""
    s = world.state
    lapses = (s.traits[..., [DISTRACTED, HARD_BRAKES_PER_S, RUNS_RED, WRONG_SIGNAL]] > 0).any(-1)
    return np.asarray(lapses | (s.kind == Class.PEDESTRIAN))


def measure(family: str, traffic: str, km: float, seed: int) -> dict[str, float]:
    """Drive for so many kilometres and count."""
    spelled, agents, walkers = FAMILIES[family]
    world = make(
        [spelled.format(k) for k in range(_MAPS)], _WORLDS, agents=agents, walkers=walkers, traffic=traffic, seed=seed,
        metres_per_pixel=1.0,
    )  # fmt: skip
    # The driver from outside is taken away, so that traffic is by itself.
    idle = np.zeros((_WORLDS, 1, 2), np.float32)
    s, t = world.state, world.tables
    s.alive[:, 0] = 0
    for _ in range(_WARM):
        world.step(idle)
    out = {"km": 0.0, "hours": 0.0, "touches": 0.0, "blameless": 0.0, "astray": 0.0, "passed": 0.0, "expected": 0.0}
    touch = np.zeros((_WORLDS, agents), np.bool_)
    before, strayed = touch.copy(), touch.copy()
    while out["km"] < km:
        was, lane, place, kind = vehicles(world), s.lane.copy(), s.s_m.copy(), s.kind.copy()
        world.step(idle)
        drives = vehicles(world) & was & (kind == s.kind)
        out["km"] += float((s.speed_mps * drives).sum()) * world.dt_s / 1000
        out["hours"] += float(drives.sum()) * world.dt_s / 3600
        touching(s.floats, s.ints, touch)
        fresh = touch & ~before & drives
        out["touches"] += float(fresh.sum())
        out["blameless"] += float((fresh & ~(touch & failing(world)).any(1, keepdims=True)).sum())
        away = drives & astray(world)
        out["astray"] += float((away & ~strayed).sum())
        before, strayed = touch.copy(), away
        same = drives & (lane == s.lane)
        middle = t.lane_f[s.lane, LANE_M] / 2
        out["passed"] += float((same & (place < middle) & (s.s_m >= middle)).sum())
        # In a stationary flow a lane's middle is passed speed / length times a second by each who is on it.
        out["expected"] += float((s.speed_mps / t.lane_f[s.lane, LANE_M] * same).sum()) * world.dt_s
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--km", type=float, default=1000.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--traffic", nargs="+", default=["timid", "mixed"])
    given = parser.parse_args()
    print(
        f"{'roads':12} {'traffic':8} {'km':>8} {'touching':>9} {'no failing':>10} {'astray':>7} {'km/h':>6} "
        f"{'passed':>8} {'expected':>9} {'CPU s':>6}"
    )
    for family in given.families:
        for traffic in given.traffic:
            begun = time.process_time()
            out = measure(family, traffic, given.km, given.seed)
            print(
                f"{family:12} {traffic:8} {out['km']:8.0f} {out['touches']:9.0f} {out['blameless']:10.0f} "
                f"{out['astray']:7.0f} {out['km'] / max(out['hours'], 1e-9):6.1f} {out['passed']:8.0f} "
                f"{out['expected']:9.0f} {time.process_time() - begun:6.1f}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()

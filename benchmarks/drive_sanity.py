"""Whether traffic is sane: simulated kilometres of timid and of mixed drivers on each family of roads.

    python benchmarks/drive_sanity.py [--seconds 20] [--families motorway rural ...]

Counted over all vehicles of traffic: kilometres; those that touch another body (once for each time that it begins);
those whose middle leaves their lane by more than half its width; their mean speed; and the flow: how often a lane's
middle is passed, beside density × speed summed up lane by lane, with which a stationary flow agrees. A budget of CPU
time for each line, as 1000 km take long on one core: the table says how many there were.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from stalwart.drive import make
from stalwart.drive.geometry.tables import BROAD_M, LANE_M
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Worlds
from stalwart.drive.traffic.step import touching

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


def measure(family: str, traffic: str, seconds: float) -> dict[str, float]:
    """Drive for so many CPU seconds and count."""
    spelled, agents, walkers = FAMILIES[family]
    world = make(
        [spelled.format(k) for k in range(_MAPS)], _WORLDS, agents=agents, walkers=walkers, traffic=traffic, seed=7,
        metres_per_pixel=1.0,
    )  # fmt: skip
    # The driver from outside is taken away, so that traffic is by itself.
    idle = np.zeros((_WORLDS, 1, 2), np.float32)
    s, t = world.state, world.tables
    s.alive[:, 0] = 0
    for _ in range(_WARM):
        world.step(idle)
    out = {"km": 0.0, "hours": 0.0, "touches": 0.0, "astray": 0.0, "passed": 0.0, "expected": 0.0}
    touch = np.zeros((_WORLDS, agents), np.bool_)
    before, strayed = touch.copy(), touch.copy()
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        was, lane, place, kind = vehicles(world), s.lane.copy(), s.s_m.copy(), s.kind.copy()
        world.step(idle)
        drives = vehicles(world) & was & (kind == s.kind)
        out["km"] += float((s.speed_mps * drives).sum()) * world.dt_s / 1000
        out["hours"] += float(drives.sum()) * world.dt_s / 3600
        touching(s.floats, s.ints, touch)
        out["touches"] += float((touch & ~before & drives).sum())
        away = drives & (np.abs(s.d_m) > t.lane_f[s.lane, BROAD_M])
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
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--traffic", nargs="+", default=["timid", "mixed"])
    given = parser.parse_args()
    print(
        f"{'roads':12} {'traffic':8} {'km':>8} {'touching':>9} {'astray':>7} {'km/h':>6} {'passed':>8} {'expected':>9}"
    )
    for family in given.families:
        for traffic in given.traffic:
            out = measure(family, traffic, given.seconds)
            print(
                f"{family:12} {traffic:8} {out['km']:8.0f} {out['touches']:9.0f} {out['astray']:7.0f} "
                f"{out['km'] / max(out['hours'], 1e-9):6.1f} {out['passed']:8.0f} {out['expected']:9.0f}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()

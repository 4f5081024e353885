"""Bodies and traffic without sensors: agent-steps per second, and whether a world's cost depends on how many there are.

    python benchmarks/drive_traffic.py [--threads 2] [--seconds 3]

An agent-step is one body decided for, moved and tracked along its lanes for a tenth of a second.
Wall seconds and CPU seconds are both given, each of the fastest of six stretches: on a machine that others use, CPU
seconds say more.
"""

from __future__ import annotations

import argparse
import time

import numba
import numpy as np

from stalwart.drive import make

STRETCHES = 6


def measure(roads: str, worlds: int, agents: int, walkers: int, seconds: float) -> tuple[float, float]:
    """(agent-steps per wall second, per CPU second)."""
    world = make(roads, worlds, agents=agents, walkers=walkers, metres_per_pixel=1.0)
    coast = np.zeros((worlds, 1, 2), np.float32)
    for _ in range(20):
        world.step(coast)
    begun = time.perf_counter()
    world.step(coast)
    steps = max(1, round(seconds / STRETCHES / (time.perf_counter() - begun)))
    wall, cpu = float("inf"), float("inf")
    for _ in range(STRETCHES):
        walls, cpus = time.perf_counter(), time.process_time()
        for _ in range(steps):
            world.step(coast)
        wall, cpu = min(wall, time.perf_counter() - walls), min(cpu, time.process_time() - cpus)
    done = steps * worlds * agents
    return done / wall, done / cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    numba.set_num_threads(min(given.threads, numba.config.NUMBA_NUM_THREADS))
    print(f"{'roads':28} {'worlds':>7} {'agents':>7} {'M agent-steps/s':>16} {'per CPU s':>10}")
    cases = [
        ("motorway()", 1024, 24, 0), ("rural()", 1024, 24, 0), ("roundabout()", 1024, 16, 0),
        ("crossroads()", 1024, 24, 4), ("town(blocks=2)", 1024, 32, 6),
        *(("motorway()", worlds, 24, 0) for worlds in (64, 256, 4096)),
    ]  # fmt: skip
    for roads, worlds, agents, walkers in cases:
        wall, cpu = measure(roads, worlds, agents, walkers, given.seconds)
        print(f"{roads:28} {worlds:7} {agents:7} {wall / 1e6:16.2f} {cpu / 1e6:10.2f}", flush=True)


if __name__ == "__main__":
    main()

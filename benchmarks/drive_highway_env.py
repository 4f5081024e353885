"""The driving world beside highway-env in one run: the same number of vehicles, the same simulation frequency.

    python benchmarks/drive_highway_env.py [--vehicles 50] [--worlds 256] [--seconds 10]

highway-env: `highway-v0` with its defaults but for the number of vehicles; its physics run at 15 Hz, a policy's step is
15 of them. Ours: a motorway of four lanes with as many bodies, each step 1/15 s, on one thread as highway-env's. An
agent-step is one vehicle, one simulated 1/15 s. Both are given by CPU time, which says more on a shared machine.
"""

from __future__ import annotations

import argparse
import time

import gymnasium
import numba
import numpy as np

from stalwart.drive import make

HZ = 15


def highway(vehicles: int, seconds: float) -> tuple[float, float]:
    """(agent-steps per CPU second, policy steps per CPU second)."""
    try:
        import highway_env
    except ImportError:
        raise SystemExit("drive_highway_env: needs highway-env: pip install 'stalwart[bench]'") from None
    highway_env.register_highway_envs() if hasattr(highway_env, "register_highway_envs") else None
    # The one that is controlled is among the vehicles.
    config = {"vehicles_count": vehicles - 1, "simulation_frequency": HZ, "policy_frequency": 1}
    env = gymnasium.make("highway-v0", config=config)
    env.reset(seed=0)
    env.step(1)
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        _, _, ended, cut, _ = env.step(1)
        done += 1
        if ended or cut:
            env.reset()
    spent = time.process_time() - begun
    return done * HZ * vehicles / spent, done / spent


def ours(vehicles: int, worlds: int, seconds: float) -> float:
    """Agent-steps per CPU second."""
    world = make(
        "motorway(seed=0, lanes=4)", worlds, agents=vehicles, walkers=0, dt_s=1 / HZ, metres_per_pixel=1.0
    )  # fmt: skip
    coast = np.zeros((worlds, 1, 2), np.float32)
    for _ in range(5):
        world.step(coast)
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        world.step(coast)
        done += int((world.state.alive != 0).sum())
    return done / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=50)
    parser.add_argument("--worlds", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    numba.set_num_threads(1)
    one, policy = highway(given.vehicles, given.seconds)
    many = ours(given.vehicles, given.worlds, given.seconds)
    print(f"highway-env: {one:,.0f} agent-steps per CPU second ({policy:.1f} policy steps), {given.vehicles} vehicles")
    print(f"ours:        {many:,.0f} agent-steps per CPU second, {given.worlds} worlds of {given.vehicles} bodies")
    print(f"ratio:       {many / one:,.0f}")


if __name__ == "__main__":
    main()

"""Timing a junction's signals: what is learned beside fixed-time plans and max-pressure, on the same unseen episodes.

The fixed-time plan is the best of a grid on episodes of another seed, as the learner trains on others too.

    python benchmarks/signal_timing.py [--seeds 3] [--steps 9600]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from stalwart.core import catalog
from stalwart.core.statistics import student
from stalwart.mdp.open import open_worlds
from stalwart.mdp.spaces import Spaces
from stalwart.worlds.signals import fixed_time, max_pressure

ENV, WORLDS = "signals()", 16
ALGO = "ppo(horizon=30, batch=120, epochs=6, lr=0.002, entropy=0.01, discount=0.95, scale_rewards=True)"
TUNING, TEST = 77, 4242

Choose = Callable[[Any, int], Any]
"""(what is seen, the number of the decision) → 0 or 1 for each world."""


def waits(worlds: Any, choose: Choose, seed: int, decisions: int = 60) -> Any:
    """(N,) seconds that a vehicle waited before it was through, in an episode of each world."""
    seen, _ = worlds.reset(seed=seed)
    waited, served = np.zeros(worlds.num_envs), np.zeros(worlds.num_envs)
    for step in range(decisions):
        seen, _, _, _, facts = worlds.step(choose(seen, step))
        waited += facts["waited_s"]
        served += facts["served"]
    return waited / np.maximum(served, 1)


def fixed(first: int, second: int) -> Choose:
    return lambda seen, step: np.full(len(seen), fixed_time(first, second, step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=9_600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    worlds: Any = open_worlds(ENV, WORLDS)
    plans = [(a, b) for a in (1, 2, 3, 4) for b in (1, 2, 3) if b <= a]
    tuned = {plan: float(waits(worlds, fixed(*plan), TUNING).mean()) for plan in plans}
    best = min(tuned, key=lambda plan: tuned[plan])
    print(f"fixed-time plans on the tuning seed: {tuned}", flush=True)
    rivals: dict[str, Choose] = {
        f"fixed-time {best}": fixed(*best),
        "max-pressure": lambda seen, step: max_pressure(seen, worlds.street),
    }
    for name, choose in rivals.items():
        mean, low, high = student(waits(worlds, choose, TEST).tolist())
        print(f"{name}: {mean:.1f} s a vehicle ({low:.1f} to {high:.1f}), n = {WORLDS} episodes", flush=True)
    found = []
    for seed in range(given.seeds):
        begun = time.process_time()
        learner = catalog.make(ALGO, "rl").begin(Spaces.of(worlds), WORLDS, seed, torch.device("cpu"))
        for _ in learner.chapter(worlds, given.steps, seed + 1, 0.0, 1.0):
            pass
        policy = learner.policy

        def act(seen: Any, step: int, policy: Any = policy) -> Any:
            return policy.act(torch.from_numpy(seen))[0].numpy()

        with torch.inference_mode():
            each = waits(worlds, act, TEST)
        found.append(float(each.mean()))
        mean, low, high = student(each.tolist())
        seconds = time.process_time() - begun
        print(f"ppo seed {seed}: {mean:.1f} s a vehicle ({low:.1f} to {high:.1f}), {seconds:.0f} CPU s", flush=True)
    mean, low, high = student(found)
    print(f"ppo: {mean:.1f} s a vehicle ({low:.1f} to {high:.1f}), n = {given.seeds} seeds", flush=True)


if __name__ == "__main__":
    main()

"""Timing a junction's signals: what is learned beside fixed-time plans and max-pressure, on the same unseen episodes.

The fixed-time plan and max-pressure's margin are the best of a grid on episodes of another seed, as the learner trains
on others too.

    python benchmarks/signal_timing.py [--demand shifting] [--flow 1500] [--seeds 3] [--steps 9600] [--only-tune]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import torch

from stalwart.core import catalog
from stalwart.core.statistics import student
from stalwart.mdp.open import open_worlds
from stalwart.mdp.spaces import Spaces
from stalwart.worlds.signals import fixed_time, max_pressure

WORLDS = 16
ALGO = "ppo(horizon=30, batch=120, epochs=6, lr=0.002, entropy=0.01, discount=0.95, scale_rewards=True)"
TUNING, TEST = (77,), (4242, 4243, 4244)
"""Seeds; each gives an episode of every world."""

Choose = Callable[[Any, int], Any]
"""(what is seen, the number of the decision) → 0 or 1 for each world."""


def waits(worlds: Any, choose: Choose, seeds: Sequence[int], decisions: int = 60) -> Any:
    """(seeds · N,) seconds that were waited in an episode for each vehicle: of a steady demand for each that was
    through; of one that does not yield for each that came, who are the same whoever times the signals."""
    found = []
    for seed in seeds:
        seen, _ = worlds.reset(seed=seed)
        waited, vehicles = np.zeros(worlds.num_envs), np.zeros(worlds.num_envs)
        for step in range(decisions):
            seen, _, _, _, facts = worlds.step(choose(seen, step))
            waited += facts["waited_s"]
            vehicles += facts.get("came", facts["served"])
        found.append(waited / np.maximum(vehicles, 1))
    return np.concatenate(found)


def fixed(first: int, second: int) -> Choose:
    return lambda seen, step: np.full(len(seen), fixed_time(first, second, step))


def pressing(street: Any, margin: int) -> Choose:
    return lambda seen, step: max_pressure(seen, street, margin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--demand", choices=("steady", "shifting"), default="steady")
    parser.add_argument("--flow", type=float, default=1500.0, help="vehicles an hour of a shifting demand")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=9_600)
    parser.add_argument("--algo", default=ALGO)
    parser.add_argument("--only-tune", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    env = "signals()" if given.demand == "steady" else f"signals(demand='shifting', flow={given.flow}, agents=96)"
    worlds: Any = open_worlds(env, WORLDS)
    plans = {f"fixed-time {a} {b}": fixed(a, b) for a in range(1, 7) for b in range(max(1, a - 2), a + 1)}
    margins = {f"max-pressure +{m}": pressing(worlds.street, m) for m in (0, 1, 2, 3, 4, 6, 8, 12)}
    rivals: dict[str, Choose] = {}
    for kind in (plans, margins):
        tuned = {name: float(waits(worlds, choose, TUNING).mean()) for name, choose in kind.items()}
        print({name: round(value, 1) for name, value in tuned.items()}, flush=True)
        best = min(tuned, key=lambda name: tuned[name])
        rivals[best] = kind[best]
    if given.only_tune:
        return
    tested = {name: waits(worlds, choose, TEST) for name, choose in rivals.items()}
    for name, each in tested.items():
        mean, low, high = student(each.tolist())
        print(f"{name}: {mean:.1f} s a vehicle ({low:.1f} to {high:.1f}), n = {len(each)} episodes", flush=True)
    found = []
    for seed in range(given.first, given.first + given.seeds):
        begun = time.process_time()
        learner = catalog.make(given.algo, "rl").begin(Spaces.of(worlds), WORLDS, seed, torch.device("cpu"))
        for _ in learner.chapter(worlds, given.steps, seed + 1, 0.0, 1.0):
            pass
        seconds = time.process_time() - begun
        policy = learner.policy

        def act(seen: Any, step: int, policy: Any = policy) -> Any:
            return policy.act(torch.from_numpy(seen))[0].numpy()

        with torch.inference_mode():
            each = waits(worlds, act, TEST)
        found.append(float(each.mean()))
        mean, low, high = student(each.tolist())
        print(f"ppo seed {seed}: {mean:.1f} s a vehicle ({low:.1f} to {high:.1f}), {seconds:.0f} CPU s", flush=True)
        for name, other in tested.items():
            mean, low, high = student((each - other).tolist())
            print(f"  less {name}: {mean:.1f} ({low:.1f} to {high:.1f}), the same episodes", flush=True)
    mean, low, high = student(found)
    print(f"ppo: {mean:.1f} s a vehicle ({low:.1f} to {high:.1f}), n = {given.seeds} seeds", flush=True)


if __name__ == "__main__":
    main()

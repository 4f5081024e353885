"""Learners beside Stable-Baselines3 in one run: the same environment, steps, network and settings; by turns.

Seconds are processor time of this process with one thread, which other work disturbs less than wall time. They hold all
that happens between the first and the last step of training. Evaluation is apart: the best action, as many episodes.

    python benchmarks/rl_speed.py [--steps 10240] [--seeds 1] [--only ppo dqn]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy

from stalwart.core import catalog
from stalwart.core.statistics import student
from stalwart.mdp.evaluation import evaluate
from stalwart.mdp.open import open_worlds
from stalwart.mdp.spaces import Spaces

ENV, EPISODES = "CartPole-v1", 20

Turn = Callable[[int, int], tuple[float, float]]
"""(seed, steps) → mean return and steps a second."""


def ours(spelled: str) -> Turn:
    def turn(seed: int, steps: int) -> tuple[float, float]:
        worlds = open_worlds(ENV, 1)
        learner = catalog.make(spelled, "rl").begin(Spaces.of(worlds), 1, seed, torch.device("cpu"))
        begun = time.process_time()
        for _ in learner.chapter(worlds, steps, seed + 1, 0.0, 1.0):
            pass
        rate = steps / (time.process_time() - begun)
        *_, found = evaluate(learner.policy, open_worlds(ENV, 4), EPISODES, 10_000 + seed)
        return float(np.mean(found.returns)), rate

    return turn


def theirs(make: Callable[[int], Any]) -> Turn:
    def turn(seed: int, steps: int) -> tuple[float, float]:
        model = make(seed)
        begun = time.process_time()
        model.learn(steps)
        rate = steps / (time.process_time() - begun)
        env = gymnasium.make(ENV)
        env.reset(seed=10_000 + seed)
        mean, _ = evaluate_policy(model, env, EPISODES, warn=False)
        return float(mean), rate

    return turn


PPO_SHAPE = {"n_steps": 2048, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-4, "device": "cpu"}
DQN_SHAPE = {
    "learning_rate": 1e-3, "batch_size": 64, "buffer_size": 50_000, "learning_starts": 1000, "train_freq": 4,
    "gradient_steps": 1, "target_update_interval": 1000, "exploration_fraction": 0.2, "exploration_final_eps": 0.05,
    "policy_kwargs": {"net_arch": [64, 64]}, "device": "cpu",
}  # fmt: skip
PAIRS: dict[str, tuple[Turn, Turn]] = {
    "ppo": (
        ours("ppo(horizon=2048, anneal=False, normalise=False)"),
        theirs(lambda seed: PPO("MlpPolicy", ENV, seed=seed, **PPO_SHAPE)),
    ),
    "dqn": (
        ours("dqn(double=False)"),
        theirs(lambda seed: DQN("MlpPolicy", ENV, seed=seed, **DQN_SHAPE)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=10_240)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=sorted(PAIRS), choices=sorted(PAIRS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        found: dict[str, list[tuple[float, float]]] = {"stalwart": [], "stable-baselines3": []}
        for turn in PAIRS[name]:  # what is imported at the first step is no part of it
            turn(99, 2048 if name == "ppo" else 1200)
        for seed in range(given.seeds):
            for who, turn in zip(found, PAIRS[name], strict=True):
                found[who].append(turn(seed, given.steps))
                print(f"{name} {who}, seed {seed}: {found[who][-1]}", flush=True)
        for who, turns in found.items():
            mean, low, high = student([score for score, _ in turns])
            rates = [rate for _, rate in turns]
            print(
                f"{name} {who}: return {mean:.1f} ({low:.1f} to {high:.1f}), {np.median(rates):,.0f} steps/s "
                f"({min(rates):,.0f} to {max(rates):,.0f}), n = {given.seeds} seeds, {given.steps:,} steps",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""PPO on the driving world's privileged vector: agent-steps trained per CPU second, and what they take.

    python benchmarks/rl_driving.py --worlds 1024 --rollouts 32

CPU seconds of the process (`time.process_time`), so that neighbours on the machine count little; how fast the core
multiplies matrices, and how fast the worlds alone run, is measured in the same process in turns with the training.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numba
import numpy as np
import torch

from stalwart.core import catalog
from stalwart.mdp.open import open_worlds
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import Spaces

ALGO = (
    "ppo(horizon=16, batch=2048, epochs=2, lr=0.0015, entropy=0.001, discount=0.98, activation='relu', shared=True, "
    "scale_rewards=True)"
)
WORLD = "driving(roads=crossroads(seed=1), agents=8, walkers=0, seconds=20.0, learners=8)"


def flops(policy: Policy) -> tuple[int, int]:
    """Floating-point operations of the layers for one observation, forwards, and forwards and backwards: the slopes of
    all weights, and of all layers' inputs but the first's."""
    each = [2 * part.weight.numel() for part in policy.modules() if isinstance(part, torch.nn.Linear)]
    return sum(each), 3 * sum(each) - each[0]


def core_flops(rows: int, width: int) -> float:
    """Multiplications and additions per CPU second of products (rows, 92) × (92, width), as the first layer's are."""
    a, b = torch.randn(rows, 92), torch.randn(92, width)
    begun, count = time.process_time(), 0
    while time.process_time() - begun < 0.3:
        a @ b
        count += 1
    return 2 * rows * 92 * width * count / (time.process_time() - begun)


def worlds_alone(worlds: Any, steps: int) -> float:
    """Driver-steps per CPU second with fixed actions."""
    actions = np.zeros((worlds.num_envs, 2), np.float32)
    begun = time.process_time()
    for _ in range(steps):
        worlds.step(actions)
    return steps * worlds.num_envs / (time.process_time() - begun)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--worlds", type=int, default=1024, help="drivers in all")
    words.add_argument("--rollouts", type=int, default=32)
    words.add_argument("--env", default=WORLD)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--algo", default=ALGO)
    asked = words.parse_args()
    torch.set_num_threads(asked.threads)
    numba.set_num_threads(asked.threads)
    learner: Any = catalog.make(asked.algo, "rl")
    worlds = open_worlds(asked.env, asked.worlds)
    student: Any = learner.begin(Spaces.of(worlds), asked.worlds, 0, torch.device("cpu"))
    chunk = learner.horizon * asked.worlds
    list(student.chapter(worlds, 2 * chunk, 0, 0.0, 0.0))  # kernels and caches warm
    learned, alone, peak, wall = 0.0, [], [], 0.0
    for number in range(4):
        begun, began = time.process_time(), time.perf_counter()
        list(student.chapter(worlds, asked.rollouts * chunk // 4, number + 1, 0.0, 0.0))
        learned += time.process_time() - begun
        wall += time.perf_counter() - began
        alone.append(worlds_alone(worlds, 20))
        peak.append(core_flops(learner.batch, learner.widths[0]))
    steps = max(1, round(asked.rollouts / 4)) * 4 * chunk
    (acted, learnt), (valued, learnt_values) = flops(student.policy), flops(student.critic)
    body = acted if learner.shared else 0  # gone through again for the values
    needed = body + acted + valued + learner.epochs * (learnt + learnt_values)
    rate, fastest = steps / learned, float(np.median(peak))
    print(f"{asked.algo}\n{asked.env}, {asked.worlds} drivers, {asked.threads} threads, {steps:,} steps")
    print(f"trained agent-steps per CPU second: {rate:,.0f}, per second by the clock: {steps / wall:,.0f}")
    print(f"worlds alone: {np.median(alone):,.0f} driver-steps a CPU second, {rate / np.median(alone):.0%} of the time")
    print(f"networks: {needed / 1e3:,.0f} kFLOP a step; products run at {fastest / 1e9:,.1f} GFLOP per CPU second")
    print(f"so that at least {needed / fastest * rate:.0%} of the time is theirs")
    print("other processes were running" if wall > 1.3 * learned / asked.threads else "the machine was quiet")


if __name__ == "__main__":
    main()

"""Learners beside Stable-Baselines3 in one run: the same environment, steps, network and settings; by turns.

Seconds are processor time of this process with one thread, which other work disturbs less than the clock's. They hold
all that happens between the first and the last step of training. Evaluation is apart: the best action, equal episodes.
With --threads above 1 both libraries may use as many, and the clock counts: for a quiet machine.
With --out each turn is kept as a line of JSON, and the same command goes on where it was broken off.

    python benchmarks/rl_speed.py [--only cartpole-ppo pendulum-sac] [--seeds 5] [--scale 1.0] [--out turns.jsonl]
    python benchmarks/rl_speed.py --only driving-ppo-apart --threads 2
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numba
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from stalwart.core import catalog
from stalwart.core.statistics import student
from stalwart.drive.env import DriveEnv
from stalwart.mdp.evaluation import evaluate
from stalwart.mdp.open import is_id, open_worlds
from stalwart.mdp.spaces import Spaces

EPISODES = 20
WORLD = "driving(roads=crossroads(seed=1), agents=8, walkers=0, seconds=20.0)"


@dataclass(frozen=True)
class Pair:
    """The same learner from both, on the same environment."""

    env: str
    steps: int
    ours: str
    theirs: type[Any]
    shape: dict[str, Any]
    """The settings of theirs."""
    worlds: int = 1
    apart: bool = False
    """Theirs steps our worlds one by one, as `DummyVecEnv` does any Gymnasium environment; else all in one call."""


class Side(VecEnv):
    """Our worlds as Stable-Baselines3 takes them. A world begins anew in the step after an episode's last, which to it
    is a step like others, of reward 0: one of some hundred."""

    def __init__(self, worlds: Any) -> None:
        self.worlds = worlds
        super().__init__(worlds.num_envs, worlds.single_observation_space, worlds.single_action_space)

    def reset(self) -> Any:
        return self.worlds.reset(seed=self._seeds[0] if self._seeds[0] is not None else 0)[0]

    def step_async(self, actions: Any) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        seen, reward, ended, cut, _ = self.worlds.step(self.actions)
        over = ended | cut
        facts: list[dict[str, Any]] = [{} for _ in over]
        for n in np.flatnonzero(over):
            facts[n] = {"terminal_observation": seen[n], "TimeLimit.truncated": bool(cut[n])}
        return seen, reward, over, facts

    def close(self) -> None:
        self.worlds.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        pass

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class _Alone(DriveEnv):
    """World `number` of WORLD by itself; it is built before the clock runs, so a seed given later builds none."""

    def __init__(self, roads: Any, number: int, seed: int) -> None:
        super().__init__(roads, agents=8, walkers=0, seconds=20.0, seed=seed, first=number)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset()


_PPO = {"n_steps": 2048, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-4}
_DQN = {
    "learning_rate": 1e-3, "batch_size": 64, "buffer_size": 50_000, "learning_starts": 1000, "train_freq": 4,
    "gradient_steps": 1, "target_update_interval": 1000, "exploration_fraction": 0.2, "exploration_final_eps": 0.05,
    "policy_kwargs": {"net_arch": [64, 64]},
}  # fmt: skip
_SAC = {"learning_rate": 1e-3, "batch_size": 256, "learning_starts": 500, "policy_kwargs": {"net_arch": [64, 64]}}
_FAR = {"n_steps": 64, "batch_size": 512, "n_epochs": 4, "learning_rate": 1e-3}
_OUR_PPO, _OUR_SAC = "ppo(horizon=2048, anneal=False, normalise=False)", "sac(lr=0.001, after=500, widths=(64, 64))"
_OUR_FAR = "ppo(horizon=64, batch=512, epochs=4, lr=0.001, anneal=False, normalise=False)"
PAIRS = {
    "cartpole-ppo": Pair("CartPole-v1", 16_384, _OUR_PPO, PPO, _PPO),
    "cartpole-dqn": Pair("CartPole-v1", 20_000, "dqn(double=False)", DQN, _DQN),
    "pendulum-sac": Pair("Pendulum-v1", 4_000, _OUR_SAC, SAC, _SAC),
    "hopper-ppo": Pair("Hopper-v5", 40_960, _OUR_PPO, PPO, _PPO),
    "hopper-sac": Pair("Hopper-v5", 5_000, _OUR_SAC, SAC, _SAC),
    "driving-ppo": Pair(WORLD, 16_384, _OUR_FAR, PPO, _FAR, 64),
    "driving-ppo-apart": Pair(WORLD, 16_384, _OUR_FAR, PPO, _FAR, 64, apart=True),
    "lunar-ppo": Pair("LunarLander-v3", 40_960, _OUR_PPO, PPO, _PPO),
    "lunar-dqn": Pair("LunarLander-v3", 40_000, "dqn(double=False)", DQN, _DQN),
}


def opened(pair: Pair, seed: int) -> Any:
    """The worlds of a turn. Ours are built before the clock runs, so a seed given later builds none anew."""
    worlds: Any = open_worlds(pair.env, pair.worlds)
    if not is_id(pair.env):
        begin = worlds.reset
        begin(seed=seed)
        worlds.reset = lambda *, seed=None, options=None: begin()
    return worlds


def clock_of() -> Callable[[], float]:
    """Processor seconds with one thread, else those of the clock."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def ours(pair: Pair, seed: int, steps: int, episodes: int = EPISODES) -> tuple[float, float]:
    """Mean return, and seconds of training."""
    worlds = opened(pair, seed)
    learner = catalog.make(pair.ours, "rl").begin(Spaces.of(worlds), pair.worlds, seed, torch.device("cpu"))
    clock = clock_of()
    begun = clock()
    for _ in learner.chapter(worlds, steps, seed + 1, 0.0, 1.0):
        pass
    seconds = clock() - begun
    *_, found = evaluate(learner.policy, open_worlds(pair.env, 4), episodes, 10_000 + seed)
    return float(np.mean(found.returns)), seconds


def theirs(pair: Pair, seed: int, steps: int, episodes: int = EPISODES) -> tuple[float, float]:
    """The same of Stable-Baselines3."""
    if not pair.apart:
        env: Any = pair.env if is_id(pair.env) else Side(opened(pair, seed))
    else:
        roads = catalog.make("crossroads(seed=1)", "roads").build()
        env = DummyVecEnv([lambda n=n: _Alone(roads, n, seed) for n in range(pair.worlds)])
    model = pair.theirs("MlpPolicy", env, seed=seed, device="cpu", **pair.shape)
    clock = clock_of()
    begun = clock()
    model.learn(steps)
    seconds = clock() - begun
    if is_id(pair.env):
        one = gymnasium.make(pair.env)
        one.reset(seed=10_000 + seed)
        mean, _ = evaluate_policy(model, one, episodes, warn=False)
        return float(mean), seconds
    *_, found = evaluate(_Foreign(model), open_worlds(pair.env, 4), episodes, 10_000 + seed)
    return float(np.mean(found.returns)), seconds


class _Foreign(torch.nn.Module):
    """A policy of theirs as our evaluation calls it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.policy, self.model = model.policy, model

    def act(self, seen: Any, memory: Any = None, rng: Any = None) -> tuple[Any, None]:
        return torch.from_numpy(self.model.predict(seen.numpy(), deterministic=True)[0]), None


LIBRARIES: dict[str, Callable[..., tuple[float, float]]] = {"stalwart": ours, "stable-baselines3": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of each pair's steps")
    parser.add_argument("--only", nargs="*", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--out", type=Path, help="a file of JSON lines, one a turn")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    numba.set_num_threads(given.threads)
    unit, second = ("cpu_s", "CPU s") if given.threads == 1 else ("wall_s", "s by the clock")
    kept = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out and given.out.exists() else []
    for name in given.only:
        pair, warm = PAIRS[name], False
        steps = max(1, round(PAIRS[name].steps * given.scale))
        turns: dict[str, list[dict[str, Any]]] = {who: [] for who in LIBRARIES}
        for seed in range(given.seeds):
            for who, turn in LIBRARIES.items():
                what = {"pair": name, "who": who, "seed": seed, "steps": steps}
                found = next((row for row in kept if what.items() <= row.items() and unit in row), None)
                if found is None:
                    if not warm:  # what is imported and compiled at the first step is no part of it
                        for other in LIBRARIES.values():
                            other(pair, 99, min(steps, 1100 if pair.worlds == 1 else 64 * 64), 1)
                        warm = True
                    score, seconds = turn(pair, seed, steps)
                    found = {**what, "return": score, unit: seconds}
                    print(json.dumps(found), flush=True)
                    if given.out:
                        with given.out.open("a") as file:
                            file.write(json.dumps(found) + "\n")
                turns[who].append(found)
        for who, rows in turns.items():
            mean, low, high = student([row["return"] for row in rows])
            rates = [row["steps"] / row[unit] for row in rows]
            print(
                f"{name} {who}: return {mean:.1f} ({low:.1f} to {high:.1f}), {np.median(rates):,.0f} steps/{second} "
                f"({min(rates):,.0f} to {max(rates):,.0f}), n = {given.seeds} seeds, {steps:,} steps",
                flush=True,
            )


if __name__ == "__main__":
    main()

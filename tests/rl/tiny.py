"""Problems whose answers are known, small enough for a second."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from stalwart.mdp.side import SideBySide
from stalwart.mdp.table import Table, TableWorlds

LENGTH = 5


def corridor() -> Table:
    """Five places in a row: left (0), right (1). A step costs 0.1, the right end pays 1, the left end 0.2 at once."""
    chance = np.ones((LENGTH, 2, 1))
    after = np.zeros((LENGTH, 2, 1), np.int64)
    reward = np.full((LENGTH, 2, 1), -0.1)
    ends = np.zeros((LENGTH, 2, 1), np.bool_)
    for place in range(LENGTH):
        after[place, 0, 0], after[place, 1, 0] = max(place - 1, 0), min(place + 1, LENGTH - 1)
    reward[0, 0], ends[0, 0] = 0.2, True
    reward[LENGTH - 1, 1], ends[LENGTH - 1, 1] = 1.0, True
    start = np.zeros(LENGTH)
    start[1] = 1.0
    return Table(chance, after, reward, ends, start, most=20)


class Corridor:
    """The corridor as a component's double: what `open_worlds` would give."""

    def build(self, count: int) -> TableWorlds:
        return TableWorlds(corridor(), count)


class Aim(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One step: a number x is shown, and the reward is −(a − x/2)². The best action is x/2, and its return is 0."""

    def __init__(self) -> None:
        self.observation_space = Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.x = np.float32(self.np_random.uniform(-1, 1))
        return np.array([self.x], np.float32), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        return np.array([self.x], np.float32), -float((action[0] - self.x / 2) ** 2), True, False, {}


class Forever(gymnasium.Env[NDArray[np.float32], int]):
    """A reward of 1 a step for ever, cut off after `most` steps: every state is worth 1 / (1 − γ)."""

    def __init__(self, most: int = 4) -> None:
        self.observation_space, self.action_space = Box(-1.0, 1.0, (1,), np.float32), Discrete(2)
        self.most = most

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.ticks = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.ticks += 1
        return np.zeros(1, np.float32), 1.0, False, self.ticks >= self.most, {}


def side_by_side(kind: type[gymnasium.Env[Any, Any]], count: int) -> SideBySide:
    return SideBySide([kind] * count)

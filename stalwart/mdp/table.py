"""Finite decision problems whose probabilities are known: simulated by thousands, and solved exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from stalwart.core.errors import InputError


@dataclass(frozen=True)
class Table:
    """A finite decision problem: S states, A actions, at most K outcomes of each action."""

    chance: NDArray[np.float64]
    """(S, A, K): probabilities, which sum to 1 over K."""
    after: NDArray[np.int64]
    """(S, A, K): the state that follows."""
    reward: NDArray[np.float64]
    """(S, A, K)."""
    ends: NDArray[np.bool_]
    """(S, A, K): the episode ends there."""
    start: NDArray[np.float64]
    """(S,): where episodes begin."""
    most: int | None = None
    """Steps after which an episode is cut off."""

    @classmethod
    def of(cls, env: Any) -> Table:
        """The table of one of Gymnasium's toy-text environments, which keep theirs in `P` and `initial_state_distrib`.

        Raises:
            InputError: the environment has no table.
        """
        inner = env.unwrapped
        if not hasattr(inner, "P") or not hasattr(inner, "initial_state_distrib"):
            raise InputError(f"{env.spec.id if env.spec else env} has no table of probabilities.")
        states, actions = len(inner.P), len(inner.P[0])
        widest = max(len(inner.P[s][a]) for s in range(states) for a in range(actions))
        chance, reward = np.zeros((states, actions, widest)), np.zeros((states, actions, widest))
        after, ends = np.zeros((states, actions, widest), np.int64), np.zeros((states, actions, widest), np.bool_)
        for s in range(states):
            for a in range(actions):
                for k, (p, s2, r, end) in enumerate(inner.P[s][a]):
                    chance[s, a, k], after[s, a, k], reward[s, a, k], ends[s, a, k] = p, s2, r, end
        most = env.spec.max_episode_steps if env.spec else None
        return cls(chance, after, reward, ends, np.asarray(inner.initial_state_distrib, float), most)

    def backup(self, values: NDArray[np.float64], discount: float = 1.0) -> NDArray[np.float64]:
        """(S, A) action values one step before state values (S,): Σ p (r + γ V(s′)), V = 0 behind an end."""
        ahead = np.where(self.ends, 0.0, values[self.after])
        backed: NDArray[np.float64] = (self.chance * (self.reward + discount * ahead)).sum(2)
        return backed

    def solve(self, discount: float = 1.0, tolerance: float = 1e-10, most: int = 100_000) -> NDArray[np.float64]:
        """(S, A) optimal action values by value iteration: V ← max_a Σ p (r + γ V) (Bellman 1957).

        Raises:
            InputError: it does not settle, as where γ = 1 and an endless course pays.
        """
        values = np.zeros(len(self.chance))
        for _ in range(most):
            q = self.backup(values, discount)
            if np.abs(q.max(1) - values).max() < tolerance:
                return q
            values = q.max(1)
        raise InputError(f"value iteration must settle within {most:,} sweeps at discount={discount}. It did not.")

    def within(self, steps: int) -> float:
        """The greatest expected return from the start within so many steps, undiscounted."""
        values = np.zeros(len(self.chance))
        for _ in range(steps):
            values = self.backup(values).max(1)
        return float(self.start @ values)

    def follow(self, actions: NDArray[np.int64], steps: int) -> float:
        """The exact expected return within so many steps of a policy (S,) that has one action for each state."""
        values, rows = np.zeros(len(self.chance)), np.arange(len(self.chance))
        for _ in range(steps):
            values = self.backup(values)[rows, actions]
        return float(self.start @ values)


class TableWorlds(VectorEnv[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]):
    """Many worlds of one table, stepped together; millions of steps a second. Autoreset in the next step."""

    def __init__(self, table: Table, num_envs: int) -> None:
        self.table, self.num_envs = table, num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Discrete(len(table.chance))
        self.single_action_space = Discrete(table.chance.shape[1])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._sums = table.chance.cumsum(2)
        self._starts = table.start.cumsum()
        self._random = np.random.default_rng(0)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        if isinstance(seed, list):
            raise InputError("TableWorlds.reset: seed must be one integer.")
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self.state = self._begin(self.num_envs)
        self._ticks = np.zeros(self.num_envs, np.int64)
        self._fresh = np.zeros(self.num_envs, np.bool_)
        return self.state.copy(), {}

    def _begin(self, count: int) -> NDArray[np.int64]:
        drawn = np.searchsorted(self._starts, self._random.random(count) * self._starts[-1], side="right")
        begun: NDArray[np.int64] = np.minimum(drawn, len(self._starts) - 1).astype(np.int64)
        return begun

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        table, at, fresh = self.table, (self.state, np.asarray(actions)), self._fresh
        sums = self._sums[at]  # (N, K)
        k = (self._random.random(self.num_envs)[:, None] * sums[:, -1:] >= sums).sum(1)
        self._ticks += 1
        reward = np.where(fresh, 0.0, table.reward[at][np.arange(len(k)), k])
        ended = table.ends[at][np.arange(len(k)), k] & ~fresh
        self.state = table.after[at][np.arange(len(k)), k]
        if fresh.any():
            self.state[fresh] = self._begin(int(fresh.sum()))
            self._ticks[fresh] = 0
        cut = ~ended & ~fresh & (self._ticks >= table.most) if table.most else np.zeros_like(ended)
        self._fresh = ended | cut
        return self.state.copy(), reward, ended, cut, {}

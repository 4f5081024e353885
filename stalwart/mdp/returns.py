"""Returns and advantages from what happened."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Tally:
    """Sums of the rewards of episodes under way, and the returns of those that ended since one last asked."""

    def __init__(self, worlds: int) -> None:
        self._sums = np.zeros(worlds)
        self._ended: list[float] = []

    def add(self, reward: NDArray[Any], over: Flags) -> None:
        """A step of each world (N,), and which episodes it ended."""
        self._sums += reward
        if over.any():
            self._ended += self._sums[over].tolist()
            self._sums[over] = 0

    def figures(self) -> dict[str, float]:
        """`train_return`, the mean of the returns since the last call; nothing where no episode ended."""
        ended, self._ended = self._ended, []
        return {"train_return": sum(ended) / len(ended)} if ended else {}


def advantages(
    reward: Floats, terminated: Flags, truncated: Flags, values: Floats, discount: float, trace: float
) -> Floats:
    """Generalised advantage estimation: A_t = Σ_k (γλ)^k δ_{t+k}, δ_t = r_t + γ V(s_{t+1}) − V(s_t), within an episode
    (Schulman et al., "High-dimensional continuous control using GAE", ICLR 2016, equation 16).

    Behind a termination V is 0. Behind a truncation the world would have gone on, so V of the last state counts (Pardo
    et al., "Time limits in reinforcement learning", ICML 2018).

    Args:
        reward, terminated, truncated: (T, N).
        values: (T + 1, N); row t + 1 is the value of the state that step t led to. With autoreset in the next step, the
            observation after an episode's last step is that state, and the step from there is no step of any episode.

    Returns:
        (T, N); whatever stands at steps that belong to no episode means nothing.
    """
    goes_on = ~terminated
    delta = reward + discount * values[1:] * goes_on - values[:-1]
    carry = (discount * trace * (goes_on & ~truncated)).astype(np.float32)
    found = np.empty_like(delta)
    if reward.shape[1] == 1:  # one world: plain numbers are faster than arrays of one
        sums, ahead = [0.0] * len(reward), 0.0
        steps = list(zip(delta[:, 0].tolist(), carry[:, 0].tolist(), strict=True))
        for t in range(len(steps) - 1, -1, -1):
            ahead = steps[t][0] + steps[t][1] * ahead
            sums[t] = ahead
        found[:, 0] = sums
        return found
    ahead_of = np.zeros(reward.shape[1], np.float32)
    for t in range(len(reward) - 1, -1, -1):
        ahead_of = delta[t] + carry[t] * ahead_of
        found[t] = ahead_of
    return found


class Scaling:
    """Rewards over the deviation of the discounted return so far (Engstrom et al., ICLR 2020, section 3)."""

    def __init__(self, worlds: int, discount: float) -> None:
        self.discount = discount
        self.moments = np.zeros(4)  # of the discounted return: how many, mean, sum of squares; and 1 once begun
        self.running = np.zeros(worlds)

    def __call__(self, reward: Floats, over: Flags) -> Floats:
        """(T, N) rewards, and where an episode ended."""
        count, mean, squares, _ = self.moments
        for t in range(len(reward)):
            self.running = self.running * self.discount + reward[t]
            n = len(self.running)
            gap = self.running.mean() - mean
            squares += self.running.var() * n + gap**2 * count * n / (count + n)
            mean += gap * n / (count + n)
            count += n
            self.running[over[t]] = 0
        self.moments[:] = count, mean, squares, 1
        scaled: Floats = (reward / math.sqrt(squares / count + 1e-8)).astype(np.float32)
        return scaled

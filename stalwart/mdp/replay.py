"""Remembered steps: drawn evenly or by their surprise, one step or several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stalwart.mdp.returns import Flags, Floats
from stalwart.mdp.spaces import Spaces


@dataclass
class Drawn:
    """A batch of B steps, each of which may stand for n steps together."""

    seen: Tensor
    action: Tensor
    reward: Tensor
    """(B,): Σ_{k<m} γ^k r_{t+k}, with m ≤ n steps up to the episode's end."""
    ahead: Tensor
    """(B, ...): what was seen m steps later."""
    discount: Tensor
    """(B,): γ^m, and 0 behind a termination; behind a truncation the last state still has its worth."""
    weight: Tensor
    """(B,): of each loss; 1 where drawing was even."""
    place: NDArray[np.int64]
    """(B,): where they stand, for `Replay.surprise`."""


class Replay:
    """A ring of T rows of N worlds. An observation is kept once: the next row holds what a step led to.

    With autoreset in the next step that is true of an episode's last step too, and the row after it, from which a world
    begins anew, is marked as no step. `close` ends a stretch in the same way.

    Prioritised: Schaul et al., "Prioritized experience replay" (ICLR 2016): P(i) ∝ p_i^α, p_i = |δ_i| + ε, new steps as
    high as the highest so far, weights (N P(i))^−β over their greatest.
    """

    def __init__(self, capacity: int, worlds: int, spaces: Spaces, steps: int = 1, alpha: float = 0.0) -> None:
        self.rows, self.worlds, self.steps, self.alpha = max(capacity // worlds, steps + 2), worlds, steps, alpha
        shape = (self.rows, worlds)
        self.seen: NDArray[Any] = np.zeros(shape if spaces.states else (*shape, spaces.inputs), spaces.kept)
        self.action: NDArray[Any] = (
            np.zeros(shape, np.int64) if spaces.actions else np.zeros((*shape, spaces.dims), np.float32)
        )
        self.reward: Floats = np.zeros(shape, np.float32)
        self.terminated, self.truncated, self.valid = (np.zeros(shape, np.bool_) for _ in range(3))
        self.at = 0
        """Rows written in all; the next goes to `at` modulo `rows`."""
        self.tree = SumTree(self.rows * worlds) if alpha else None
        self.highest = 1.0

    def add(
        self,
        seen: NDArray[Any],
        action: NDArray[Any],
        reward: Floats,
        terminated: Flags,
        truncated: Flags,
        valid: Flags,
    ) -> None:
        """One row: a step of each world from `seen`."""
        row = self.at % self.rows
        self.seen[row], self.action[row], self.reward[row] = seen, action, reward
        self.terminated[row], self.truncated[row], self.valid[row] = terminated, truncated, valid
        self.at += 1
        if self.tree is not None:
            places = np.arange(self.worlds)
            self.tree.put(row * self.worlds + places, np.zeros(self.worlds))
            ready = self.at - 1 - self.steps  # its last observation has just been written
            if ready >= 0:
                row = ready % self.rows
                self.tree.put(row * self.worlds + places, np.where(self.valid[row], self.highest**self.alpha, 0.0))

    def close(self, seen: NDArray[Any]) -> None:
        """A stretch ends at `seen`: its last steps count as truncated there."""
        last = (self.at - 1) % self.rows
        self.truncated[last] |= self.valid[last] & ~self.terminated[last]
        nothing = np.zeros(self.worlds, np.bool_)
        for _ in range(self.steps):  # so that all that came before can be drawn
            self.add(seen, np.zeros_like(self.action[0]), np.zeros(self.worlds, np.float32), nothing, nothing, nothing)

    def __len__(self) -> int:
        """Steps that can be drawn, those that are none counted in."""
        return max(min(self.at, self.rows) - self.steps, 0) * self.worlds

    def recent(self, rows: int) -> Tensor:
        """(rows · N, ...) what was seen in the rows written last."""
        return torch.from_numpy(self.seen[np.arange(self.at - rows, self.at) % self.rows]).flatten(0, 1)

    def draw(self, batch: int, discount: float, random: np.random.Generator, beta: float = 1.0) -> Drawn:
        """A batch; there must be a step to draw."""
        if self.tree is not None:
            place = self.tree.draw(batch, random)
            share = self.tree.of(place) / self.tree.total()
            weight = (len(self) * share) ** -beta
            weight = (weight / weight.max()).astype(np.float32)
        else:
            place = self._evenly(batch, random)
            weight = np.ones(batch, np.float32)
        row, world = np.divmod(place, self.worlds)
        reward, going, gamma = np.zeros(batch, np.float32), np.ones(batch, np.bool_), np.ones(batch, np.float32)
        ended, at = np.zeros(batch, np.bool_), row
        for _ in range(self.steps):
            reward += np.where(going, gamma * self.reward[at, world], 0.0)
            gamma = np.where(going, gamma * np.float32(discount), gamma)
            ended |= going & self.terminated[at, world]
            after = (at + 1) % self.rows
            at = np.where(going, after, at)
            before = (at - 1) % self.rows
            going = going & ~(self.terminated[before, world] | self.truncated[before, world])
        parts = (
            self.seen[row, world], self.action[row, world], reward, self.seen[at, world],
            np.where(ended, np.float32(0.0), gamma), weight,
        )  # fmt: skip
        seen, action, gain, ahead, left, importance = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        return Drawn(seen, action, gain, ahead, left, importance, place)

    def _evenly(self, batch: int, random: np.random.Generator) -> NDArray[np.int64]:
        count, oldest = len(self) // self.worlds, max(self.at - self.rows, 0)
        row = (oldest + random.integers(count, size=batch)) % self.rows
        world = random.integers(self.worlds, size=batch)
        while not (good := self.valid[row, world]).all():  # drawn anew, so that all steps are as likely
            bad = ~good
            row[bad] = (oldest + random.integers(count, size=int(bad.sum()))) % self.rows
            world[bad] = random.integers(self.worlds, size=int(bad.sum()))
        place: NDArray[np.int64] = row * self.worlds + world
        return place

    def surprise(self, place: NDArray[np.int64], error: Floats) -> None:
        """What a batch's errors were: its priorities from now on."""
        if self.tree is not None:
            priority = np.abs(error).astype(np.float64) + 1e-6
            self.highest = max(self.highest, float(priority.max()))
            self.tree.put(place, priority**self.alpha)

    def state(self) -> dict[str, Tensor]:
        """All of it that is filled."""
        filled = min(self.at, self.rows)
        arrays = {name: getattr(self, name)[:filled] for name in _FIELDS}
        if self.tree is not None:
            arrays["priority"] = self.tree.of(np.arange(filled * self.worlds))
        marks = np.array([self.at, self.highest])
        return {f"replay/{name}": torch.from_numpy(array) for name, array in {**arrays, "marks": marks}.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        for name in _FIELDS:
            kept = state[f"replay/{name}"].numpy()
            getattr(self, name)[: len(kept)] = kept
        self.at, self.highest = int(state["replay/marks"][0]), float(state["replay/marks"][1])
        if self.tree is not None:
            priority = state["replay/priority"].numpy()
            self.tree.put(np.arange(len(priority)), priority)


_FIELDS = ("seen", "action", "reward", "terminated", "truncated", "valid")


class SumTree:
    """Weights of n places; one is drawn with a chance in proportion, in log₂ n steps, a whole batch at once."""

    def __init__(self, places: int) -> None:
        self.depth = max(1, (places - 1).bit_length())
        self.sums = np.zeros(2 << self.depth)  # node i has 2i and 2i + 1 beneath it; the leaves are the last half
        self.first = 1 << self.depth

    def put(self, place: NDArray[np.int64], weight: NDArray[np.float64]) -> None:
        """Of a place named twice, the last weight counts."""
        node = place + self.first
        self.sums[node] = weight
        for _ in range(self.depth):
            node = node >> 1
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1]

    def of(self, place: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.sums[place + self.first]

    def total(self) -> float:
        return float(self.sums[1])

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """One from each of `count` equal parts of the whole, which spreads them (section 3.3)."""
        wanted = (np.arange(count) + random.random(count)) / count * self.sums[1]
        node = np.ones(count, np.int64)
        for _ in range(self.depth):
            left = self.sums[2 * node]
            right = (wanted >= left) & (self.sums[2 * node + 1] > 0)
            wanted = np.where(right, wanted - left, wanted)
            node = 2 * node + right
        return node - self.first

"""Learning a table of action values: Watkins and Dayan, "Q-learning" (Machine Learning 1992).

Q(s,a) ← Q(s,a) + α [r + γ max_a′ Q(s′,a′) − Q(s,a)]. SARSA puts Q(s′,a′) of the action then taken in the maximum's
place (Rummery and Niranjan 1994); double Q-learning lets one table choose a′ and another say its worth, as the maximum
of noisy values is too high (van Hasselt, "Double Q-learning", NeurIPS 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core import catalog
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import InputError
from stalwart.mdp.policies import Policy
from stalwart.mdp.returns import Tally
from stalwart.mdp.spaces import Spaces


@component
class qlearning:
    """A table of action values for discrete states and actions; Q-learning, SARSA or double Q-learning.

    Many worlds share one table: what several of them meet at once in one state and action counts as so many updates, by
    their mean. The rate of an entry falls with its visits, α_n = max(α, 1 / n^power), as convergence asks for.
    """

    rule: Literal["q", "sarsa", "double"] = "q"
    """Which update."""
    rate: Annotated[float, between(0, 1)] = 0.01
    """α at least."""
    power: Annotated[float, between(0, 1)] = 0.7
    """How fast the rate falls; 0: it is 1 from first to last, and `rate` means nothing."""
    discount: Annotated[float, between(0, 1)] = 0.999
    """γ."""
    explore: Annotated[float, between(0, 1)] = 1.0
    """Share of random actions at the start; it falls in a straight line to `explore_last`."""
    explore_last: Annotated[float, between(0, 1)] = 0.1
    """The same at the end."""
    hopeful: Annotated[float, above(-1e9)] = 0.0
    """What the table holds at first; above what can be had, all is tried."""
    every: Annotated[int, at_least(1)] = 500
    """Rounds of all worlds between two reports of progress."""

    def begin(self, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> _Student:
        if not spaces.states or not spaces.actions:
            raise InputError("qlearning needs discrete states and actions; for others there are dqn, ppo and sac.")
        return _Student(self, spaces)


class _Student:
    def __init__(self, how: qlearning, spaces: Spaces) -> None:
        self.how = how
        self.architecture = spaces.policy("values", ())
        self.policy: Policy = catalog.make(self.architecture, "models").build(Signature(spaces.actions, 1, (1, 1)))
        self.policy.head.weight.requires_grad_(False)
        self.policy.head.bias.requires_grad_(False).zero_()
        tables = 2 if how.rule == "double" else 1
        self.q = np.full((tables, spaces.inputs, spaces.actions), how.hopeful)
        self.visits = np.zeros((tables, spaces.inputs, spaces.actions))
        self._show()

    def _show(self) -> None:
        """The policy's weights are the table, so that it is a checkpoint like any other."""
        self.policy.head.weight.copy_(torch.from_numpy(self.q.mean(0).T))

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        how, count = self.how, worlds.num_envs
        random = np.random.default_rng(seed)
        rounds = max(1, round(steps / count))
        seen, _ = worlds.reset(seed=seed % 2**31)
        fresh, tally = np.zeros(count, np.bool_), Tally(count)
        at = begun
        action = self._choose(seen, at, random)
        for number in range(1, rounds + 1):
            after, reward, terminated, truncated, _ = worlds.step(action)
            following = self._choose(after, at, random)
            good = ~fresh
            self._update(seen[good], action[good], reward[good], after[good], following[good], terminated[good], random)
            fresh = terminated | truncated
            tally.add(reward, fresh)
            seen, action = after, following
            at = begun + (ended - begun) * number / rounds
            if number % how.every == 0 or number == rounds:
                self._show()
                figures = {"explore": self._exploring(at), **tally.figures()}
                yield Event("progress", {"done": number * count, **figures})

    def _exploring(self, at: float) -> float:
        return self.how.explore + (self.how.explore_last - self.how.explore) * at

    def _choose(self, seen: NDArray[np.int64], at: float, random: np.random.Generator) -> NDArray[np.int64]:
        """ε-greedy actions for (N,) states."""
        chosen = self.q.sum(0)[seen].argmax(1) if len(self.q) > 1 else self.q[0, seen].argmax(1)
        astray = random.random(len(seen)) < self._exploring(at)
        return np.where(astray, random.integers(self.q.shape[2], size=len(seen)), chosen)

    def _update(
        self,
        seen: NDArray[np.int64],
        action: NDArray[np.int64],
        reward: NDArray[np.float64],
        after: NDArray[np.int64],
        following: NDArray[np.int64],
        terminated: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> None:
        """One update from (N,) steps. A truncated episode's last state still has its worth."""
        which = int(random.integers(2)) if self.how.rule == "double" else 0
        table, rows = self.q[which], np.arange(len(seen))
        if self.how.rule == "sarsa":
            ahead = table[after, following]
        elif self.how.rule == "double":
            ahead = self.q[1 - which][after, table[after].argmax(1)]
        else:
            ahead = table[after].max(1)
        error = reward + self.how.discount * np.where(terminated, 0.0, ahead) - table[seen, action]
        if len(rows) == 1:
            entry = (which, int(seen[0]), int(action[0]))
            self.visits[entry] += 1
            self.q[entry] += max(self.how.rate, self.visits[entry] ** -self.how.power) * float(error[0])
            return
        place = seen * self.q.shape[2] + action
        entries, inverse, times = np.unique(place, return_inverse=True, return_counts=True)
        visits, values = self.visits[which].reshape(-1), table.reshape(-1)
        visits[entries] += times
        rate = np.maximum(self.how.rate, visits[entries] ** -self.how.power)
        # So many updates one after the other towards their mean: 1 − (1 − α)^n of the way.
        values[entries] += (1 - (1 - rate) ** times) * np.bincount(inverse, error) / times

    def state(self) -> dict[str, Tensor]:
        return {"q": torch.from_numpy(self.q), "visits": torch.from_numpy(self.visits)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.q[:], self.visits[:] = state["q"].numpy(), state["visits"].numpy()
        self._show()

"""What learns to act, and in which worlds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stalwart.core.contracts.events import Event


@runtime_checkable
class Worlds(Protocol):
    """A decision problem of our own: its fields say which."""

    def build(self, count: int) -> Any:
        """`count` worlds side by side: a `gymnasium.vector.VectorEnv` with `AutoresetMode.NEXT_STEP`."""
        ...


class Student(Protocol):
    """A learner at work: its networks and all that it remembers."""

    policy: nn.Module
    architecture: str
    """The policy as the room `models` spells it."""

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        """Learn from about `steps` steps of worlds that begin anew with `seed`.

        Everything random follows from `seed`, so that a run goes on between two chapters as if it had not stopped.

        Args:
            steps: over all worlds together.
            begun, ended: which part of the whole training this is, 0 to 1.

        Yields:
            progress, with `done`: steps of this chapter so far, and running figures.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All that `restore` needs to go on, the policy with it."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class Learner(Protocol):
    """An algorithm of reinforcement or imitation learning: its fields are its whole configuration."""

    def begin(self, spaces: Any, worlds: int, seed: int, device: torch.device) -> Student:
        """A student with fresh weights for `mdp.spaces.Spaces` and so many worlds side by side.

        Raises:
            InputError: spaces that the algorithm cannot serve.
        """
        ...

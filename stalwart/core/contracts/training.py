"""What training minimises, and the steps that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stalwart.core.contracts.attacks import Attack, Rendered, Threat
from stalwart.core.contracts.batches import Batch
from stalwart.core.contracts.tasks import Task


@runtime_checkable
class Objective(Protocol):
    """What training minimises.

    Where it has both an `attack` and a `threat`, the trainer watches robustness on validation images with them, or with
    an attack of more steps where that one asks the model fewer than five times. Where it says `replays: int`, each
    batch is stepped on so many times in a row; where it says `carries = True`, what it puts into `batch.memory` comes
    back in the next step.
    """

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        """(B,) float32, the loss of each sample, with gradients to the model's parameters."""
        ...


@runtime_checkable
class Hardening(Objective, Protocol):
    """An objective in two halves, of which a wrapper can have the second alone: it is the first, then the second."""

    @property
    def attack(self) -> Attack:
        """What the trainer watches robustness with."""
        ...

    @property
    def threat(self) -> Threat | Rendered: ...

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        """Images (B, C, H, W) of the threat around the batch's, to train on; the model is left as it was."""
        ...

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        """(B,) float32, the loss of each sample at its worst image."""
        ...


@runtime_checkable
class Joint(Objective, Protocol):
    """An objective that must see the whole batch before it can say the loss of any part of it."""

    def parts(
        self, model: nn.Module, task: Task, batches: Sequence[Batch], total: Callable[[Tensor], Tensor]
    ) -> Iterator[Tensor]:
        """The losses (b,) of the batch's parts, one part after another; the caller goes backwards in between.

        Args:
            batches: the parts that this process computes, none of them empty; perhaps none at all.
            total: the sum of a tensor over all processes; each must call it as often as the others.
        """
        ...


@runtime_checkable
class OptimizerMaker(Protocol):
    """An optimizer as the user names it: ``sgd(lr=0.1)``."""

    @property
    def lr(self) -> float:
        """The peak learning rate; the schedule scales it."""
        ...

    def build(self, model: nn.Module) -> torch.optim.Optimizer: ...


@runtime_checkable
class Schedule(Protocol):
    """The learning rate's course."""

    def __call__(self, progress: float) -> float:
        """The factor on the peak rate at `progress` in [0, 1] of the training."""
        ...

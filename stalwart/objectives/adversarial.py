"""Adversarial training: minimise the loss at the worst point that an attack finds."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core import rendering
from stalwart.core.component import between, component
from stalwart.core.contracts import Attack, Batch, Rendered, Task, Threat


@component
class adversarial:
    """min over weights of E max over the threat of loss: the saddle point of Madry et al. (ICLR 2018), equation 2.1.

    The inner maximum is sought in evaluation mode, so that the attack's passes do not shift the statistics of
    BatchNorm (Pang et al., "Bag of tricks for adversarial training", ICLR 2021, section 3.6).
    """

    attack: Attack = "pgd(steps=7)"  # type: ignore[assignment]
    """The attack that seeks the worst point; also used to watch robustness on the validation images."""
    threat: Threat | Rendered = "linf(8/255)"  # type: ignore[assignment]
    """The set around each training image."""
    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing of the loss that is minimised."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.loss(model, task, batch, self.worst(model, task, batch))

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return rendering.adversary(self.attack, self.threat, model, task, batch)

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        return task.loss(model, worst, batch.targets, smoothing=self.smoothing)

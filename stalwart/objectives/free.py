"""Free adversarial training: one backward pass serves the weights and the perturbation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Attack, Batch, Task, Threat

PERTURBATION = "perturbation"


@component
class free:
    """Each batch is stepped on m times, and each step's gradient moves both the weights and the perturbation.

    Shafahi et al., "Adversarial training for free!" (NeurIPS 2019), algorithm 1: g = ∇ₓ L(x + δ), then
    δ ← Π(δ + ε · steepest(g)). δ is carried over from batch to batch. A step costs what a plain one costs; m replays
    of an epoch cost m epochs, so give it that many fewer of them. The gradient is that of the training mode, as it is
    shared.
    """

    carries: ClassVar[bool] = True
    """The perturbation is carried over from step to step."""

    threat: Threat = "linf(8/255)"  # type: ignore[assignment]
    """The set around each training image."""
    replays: Annotated[int, at_least(1)] = 8
    """Steps m on each batch; the paper's 8 for CIFAR-10, 4 for ImageNet."""
    step: Annotated[float, above(0)] = 1.0
    """Length of the perturbation's step as a fraction of ε."""
    attack: Attack = "pgd(steps=10)"  # type: ignore[assignment]
    """The attack that watches robustness on the validation images; it takes no part in training."""
    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing of the loss that is minimised."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.loss(model, task, batch, self.worst(model, task, batch))

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        """Where the perturbation stands; at the clean images in the first step, or where their size is a new one."""
        carried = batch.memory.get(PERTURBATION)
        if carried is None or carried.shape != batch.images.shape:
            return batch.images
        return self.threat.project(batch.images + carried, batch.images)

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        x = worst.detach().requires_grad_()

        def advance(gradient: Tensor) -> None:
            """Called in the backward pass; the gradient's scale does not matter to a steepest step."""
            here = x.detach()
            moved = self.threat.ascend(here, gradient.detach(), self.step * self.threat.epsilon)
            batch.memory[PERTURBATION] = self.threat.project(moved, batch.images) - batch.images

        x.register_hook(advance)  # type: ignore[no-untyped-call]
        return task.loss(model, x, batch.targets, smoothing=self.smoothing)

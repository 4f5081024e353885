"""Fast adversarial training: one gradient step from a random start."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.ascent import Unstopped, ascend
from stalwart.core.component import above, between, component
from stalwart.core.contracts import Attack, Batch, Task, Threat
from stalwart.core.freeze import frozen


@component
class fast:
    """FGSM-RS: adversarial training at the price of one more pass.

    Wong, Rice and Kolter, "Fast is better than free: revisiting adversarial training" (ICLR 2020), algorithm 3.
    It can fall into catastrophic overfitting: the model learns to be right at one step's end and wrong everywhere
    else, and robustness to PGD drops to nothing within an epoch. So `attack` watches the validation images each
    epoch, the trainer says when they fall, and the best checkpoint is one from before.
    """

    threat: Threat = "linf(8/255)"  # type: ignore[assignment]
    """The set around each training image."""
    step: Annotated[float, above(0)] = 1.25
    """Length of the step as a fraction of ε; the paper's 10/255 at ε = 8/255."""
    attack: Attack = "pgd(steps=10)"  # type: ignore[assignment]
    """The attack that watches for catastrophic overfitting; it takes no part in training."""
    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing of the loss that is minimised."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        with frozen(model):
            goal = Unstopped(task.goal(model, batch.targets))
            noise = batch.noise.fork("adversary")
            worst = ascend(batch.images, goal, self.threat, noise, steps=1, step=self.step, random_start=True)
        return task.loss(model, worst.detach(), batch.targets, smoothing=self.smoothing)

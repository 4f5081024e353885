"""FGM training: the clean loss and the loss one gradient step away, as text classifiers are trained."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.ascent import Unstopped, ascend
from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Attack, Batch, Task, Threat
from stalwart.core.freeze import frozen


@component
class fgm:
    """L(x) + w · L(x + r) with r = ε g / ‖g‖₂ and g = ∇ₓ L(x): one step of the full length from the clean image.

    Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text classification" (ICLR 2017),
    equations 2, 3 and 5, with pixels in the place of word embeddings. Within another threat its own steepest direction
    takes the place of g / ‖g‖₂; within L∞ this is FGSM training (Goodfellow et al., ICLR 2015, section 6), which
    overfits catastrophically sooner than `fast`: no random start.
    """

    threat: Threat = "l2(0.5)"  # type: ignore[assignment]
    """The set around each training image; the step's length is its ε."""
    weight: Annotated[float, at_least(0)] = 1.0
    """Weight w of the loss at the perturbed image; the paper's 1."""
    attack: Attack = "pgd(steps=10)"  # type: ignore[assignment]
    """The attack that watches robustness on the validation images; it takes no part in training."""
    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing of both losses."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.loss(model, task, batch, self.worst(model, task, batch))

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        with frozen(model):
            goal = Unstopped(task.goal(model, batch.targets))
            return ascend(batch.images, goal, self.threat, batch.noise, steps=1, step=1.0, random_start=False)

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        clean = task.loss(model, batch.images, batch.targets, smoothing=self.smoothing)
        return clean + self.weight * task.loss(model, worst, batch.targets, smoothing=self.smoothing)

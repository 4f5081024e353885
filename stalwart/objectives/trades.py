"""TRADES: be right on the clean image, and say the same all around it."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core import rendering
from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Attack, Batch, Rendered, Task, Threat, Verdict
from stalwart.core.freeze import frozen
from stalwart.core.recall import Recall


@component
class trades:
    """L(x) + β max over the threat of D(f(x) ‖ f(x′)), with D the task's divergence: KL for classes.

    Zhang et al., "Theoretically principled trade-off between robustness and accuracy" (ICML 2019), equation 5, with
    β = 1/λ. The inner attack climbs the divergence and needs no label; the gradient of the loss goes through both of
    the divergence's sides, as in the authors' code. They start from normal noise of deviation 0.001, as the divergence
    is flat at x itself; here the attack's own random start does that.
    """

    attack: Attack = "pgd(steps=10, step=0.25)"  # type: ignore[assignment]
    """The attack that seeks where predictions differ most; also used, on the usual goal, to watch robustness."""
    threat: Threat | Rendered = "linf(8/255)"  # type: ignore[assignment]
    """The set around each training image."""
    beta: Annotated[float, at_least(0)] = 6.0
    """Weight β of the divergence: more of it is more robust and less accurate. The paper's best on CIFAR-10 is 6."""
    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing of the clean loss."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.loss(model, task, batch, self.worst(model, task, batch))

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        with frozen(model):
            goal = _Apart(model, task, batch.images)
            noise = batch.noise.fork("adversary")
            return rendering.worst(self.attack, batch.images, goal, self.threat, noise)

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        asked = Recall(model, batch.images, worst)
        clean = task.loss(asked, batch.images, batch.targets, smoothing=self.smoothing)
        return clean + self.beta * task.divergence(asked, batch.images, worst)


class _Apart:
    """To have the predictions as far from those at the clean images as can be; it is never done."""

    def __init__(self, model: nn.Module, task: Task, clean: Tensor) -> None:
        self.model, self.task, self.clean = model, task, clean
        self._asked = Recall(model, clean)

    def on(self, model: nn.Module) -> _Apart:
        return _Apart(model, self.task, self.clean)

    def select(self, index: Tensor) -> _Apart:
        return _Apart(self.model, self.task, self.clean[index])

    def __call__(self, images: Tensor) -> Verdict:
        return Verdict(self.task.divergence(self._asked, self.clean, images), None)

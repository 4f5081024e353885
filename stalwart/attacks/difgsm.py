"""DI-FGSM: each look at another size and place, so that no step serves the one model's grid alone."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core.ascent import ascend
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.direction import Habit
from stalwart.core.rng import Noise


@component
class difgsm:
    """Steps along the slope at a randomly shrunk and placed image, gathered with momentum.

    Xie et al., "Improving transferability of adversarial examples with input diversity" (CVPR 2019), equations 4 to 7:
    g ← μ g + ∇ J(T(x; p)) / ‖∇ J(T(x; p))‖₁, x ← Clip(x + α sign g). T shows the image at a random smaller size, on
    black, with probability p, each sample at its own; the paper enlarges images of 299 pixels to 330, which not every
    net takes.
    """

    steps: Annotated[int, at_least(1)] = 10
    """Gradient steps from the clean image."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 1 / steps."""
    momentum: Annotated[float, at_least(0)] = 1.0
    """μ: 1 is the paper's M-DI²-FGSM, 0 its DI²-FGSM."""
    probability: Annotated[float, between(0, 1)] = 0.5
    """p: how often an image is shown at another size and place."""
    smallest: Annotated[float, between(0.1, 1)] = 0.9
    """The least size that it is shown at, as a share of its own."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        step = 1.0 / self.steps if self.step is None else self.step
        habit = Habit(momentum=self.momentum, diversity=self.probability, smallest=self.smallest)
        return ascend(clean, goal, threat, noise, steps=self.steps, step=step, random_start=False, habit=habit)

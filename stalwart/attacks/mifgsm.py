"""MI-FGSM: the basic iterative method with momentum, whose images fool other models more often."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core.ascent import ascend
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.direction import Habit
from stalwart.core.rng import Noise


@component
class mifgsm:
    """Steps along the gathered slopes, each of which counts alike however steep it was.

    Dong et al., "Boosting adversarial attacks with momentum" (CVPR 2018), equations 6 and 7:
    g ← μ g + ∇ J(x) / ‖∇ J(x)‖₁, x ← Clip(x + α sign g); under other threats the sign becomes their steepest direction.
    """

    steps: Annotated[int, at_least(1)] = 10
    """Gradient steps from the clean image."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 1 / steps, as the paper does."""
    momentum: Annotated[float, at_least(0)] = 1.0
    """μ: the share of what was gathered that is kept at each step; 0 is BIM."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        step = 1.0 / self.steps if self.step is None else self.step
        habit = Habit(momentum=self.momentum)
        return ascend(clean, goal, threat, noise, steps=self.steps, step=step, random_start=False, habit=habit)

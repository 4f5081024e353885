"""NI-FGSM: momentum that looks ahead to where it is about to go."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core import direction
from stalwart.core.ascent import ascend
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class nifgsm:
    """Steps along the slopes gathered at x + α μ g, a step ahead, and not at x.

    Lin et al., "Nesterov accelerated gradient and scale invariance for adversarial attacks" (ICLR 2020), equations 6 to
    8: x' = x + α μ g, g ← μ g + ∇ J(x') / ‖∇ J(x')‖₁, x ← Clip(x + α sign g).
    """

    steps: Annotated[int, at_least(1)] = 10
    """Gradient steps from the clean image."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 1 / steps."""
    momentum: Annotated[float, at_least(0)] = 1.0
    """μ: the share of what was gathered that is kept at each step, and how far ahead it looks."""
    kernel: Annotated[int, at_least(1)] = 1
    """Width in pixels of the Gaussian that the slope is blurred by, as in `tifgsm`, an odd number; 1: not at all."""
    probability: Annotated[float, between(0, 1)] = 0.0
    """How often an image is shown at another size and place, as `difgsm` does."""
    smallest: Annotated[float, between(0.1, 1)] = 0.9
    """The least size that it is shown at then, as a share of its own."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        step = 1.0 / self.steps if self.step is None else self.step
        habit = direction.Habit(
            momentum=self.momentum,
            ahead=True,
            diversity=self.probability,
            smallest=self.smallest,
            kernel=self.kernel,
        )
        return ascend(clean, goal, threat, noise, steps=self.steps, step=step, random_start=False, habit=habit)

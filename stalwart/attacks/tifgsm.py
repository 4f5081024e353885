"""TI-FGSM: the slope averaged over shifts of the image, against models that look at other places of it."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core import direction
from stalwart.core.ascent import ascend
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class tifgsm:
    """Steps along the slope blurred by a Gaussian, gathered with momentum, at the image itself or at random sizes.

    Dong, Pang, Su and Zhu, "Evading defenses to transferable adversarial examples by translation-invariant attacks"
    (CVPR 2019), equations 6 to 8: the slope of the mean loss over shifted images is nearly W ∗ ∇ J(x), so
    g ← μ g + W ∗ ∇ J(x) / ‖W ∗ ∇ J(x)‖₁, x ← Clip(x + α sign g).
    """

    steps: Annotated[int, at_least(1)] = 10
    """Gradient steps from the clean image."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 1 / steps."""
    momentum: Annotated[float, at_least(0)] = 1.0
    """μ: 1 is the paper's TI-MI-FGSM, 0 its TI-FGSM."""
    kernel: Annotated[int, at_least(1)] | None = None
    """Width of W in pixels, an odd number; None takes the paper's 15 of 299 pixels in proportion, 3 at the least."""
    probability: Annotated[float, between(0, 1)] = 0.0
    """How often an image is shown at another size and place, as `difgsm` does; 0.7 is the paper's TI-DIM."""
    smallest: Annotated[float, between(0.1, 1)] = 0.9
    """The least size that it is shown at then, as a share of its own."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        step = 1.0 / self.steps if self.step is None else self.step
        habit = direction.Habit(
            momentum=self.momentum,
            diversity=self.probability,
            smallest=self.smallest,
            kernel=direction.width(clean.shape[2:]) if self.kernel is None else self.kernel,
        )
        return ascend(clean, goal, threat, noise, steps=self.steps, step=step, random_start=False, habit=habit)

"""The basic iterative method: small steps from the clean image."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core.ascent import ascend
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class bim:
    """PGD without its random start: deterministic, and weaker where the loss is bumpy near the clean image.

    Kurakin, Goodfellow and Bengio, "Adversarial examples in the physical world" (ICLR workshop 2017), section 2.2:
    x ← Clip(x + α sign ∇ J(x, y)), beginning at the clean x.
    """

    steps: Annotated[int, at_least(1)] = 10
    """Gradient steps."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 1 / steps, so that the steps together just span ε."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        step = 1.0 / self.steps if self.step is None else self.step
        return ascend(clean, goal, threat, noise, steps=self.steps, step=step, random_start=False)

"""Projected gradient descent, the standard first-order attack."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core.ascent import ascend
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class pgd:
    """Steps along the steepest ascent, projected onto the threat, from random starts.

    Madry et al., "Towards deep learning models resistant to adversarial attacks" (ICLR 2018), section 2.1:
    x ← Π(x + α sgn ∇ L(x, y)) for L∞; for other threats the sign becomes their steepest direction.
    """

    steps: Annotated[int, at_least(1)] = 20
    """Gradient steps from each start."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 2.5 / steps, which can cross the threat and come back."""
    restarts: Annotated[int, at_least(1)] = 1
    """Starts; a sample that is done takes no part in the later ones."""
    random_start: bool = True
    """Begin at a random point of the threat; without, the first start is the clean image."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        step = 2.5 / self.steps if self.step is None else self.step
        return ascend(
            clean,
            goal,
            threat,
            noise,
            steps=self.steps,
            step=step,
            random_start=self.random_start,
            restarts=self.restarts,
        )

"""The fast gradient sign method: one step, optionally from a random start."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from stalwart.core.ascent import ascend
from stalwart.core.component import above, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class fgsm:
    """One step of length ε along the steepest ascent; under L∞ that is x + ε sign ∇ J(x, y).

    Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples" (ICLR 2015), section 4.
    With a random start and a step of 1.25 it is the FGSM-RS of Wong, Rice and Kolter, "Fast is better than free"
    (ICLR 2020), algorithm 3. Too weak to judge a defence: a model can be right on it and wrong nearby.
    """

    step: Annotated[float, above(0)] = 1.0
    """Length of the step as a fraction of ε."""
    random_start: bool = False
    """Begin at a random point of the threat rather than at the clean image."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        return ascend(clean, goal, threat, noise, steps=1, step=self.step, random_start=self.random_start)

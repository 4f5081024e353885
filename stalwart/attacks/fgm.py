"""The fast gradient method: one full step along the gradient itself, FGSM's sibling for smooth norms."""

from __future__ import annotations

from torch import Tensor

from stalwart.core.ascent import ascend
from stalwart.core.component import component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class fgm:
    """One step of length ε from the clean image along the threat's steepest ascent; under L2, x + ε g / ‖g‖₂.

    Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text classification" (ICLR 2017),
    equation 3. Under L∞ the same step is FGSM. It has no settings: the threat says it all.
    """

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        return ascend(clean, goal, threat, noise, steps=1, step=1.0, random_start=False)

"""Backward pass differentiable approximation: an attack that walks through a shield as if it were glass."""

from __future__ import annotations

from torch import Tensor

from stalwart.core.component import component
from stalwart.core.contracts import Attack, Goal, Threat
from stalwart.core.rng import Noise
from stalwart.core.shielding import differentiable


@component
class bpda:
    """Any attack, with gradients that pass a shield's preprocessing unchanged; forward passes go through it as it is.

    Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (ICML 2018), section 4.1, with
    the identity as the approximation: right for all that gives back nearly what it gets, such as rounding, JPEG or
    smoothing. A model without shields is attacked as it is. What is found is judged on the shielded model.
    """

    attack: Attack = "pgd(steps=20)"  # type: ignore[assignment]
    """The attack that climbs."""

    @property
    def least(self) -> bool:
        """Whether the attack within looks for the smallest change."""
        return bool(getattr(self.attack, "least", False))

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        return self.attack(clean, goal.on(differentiable(goal.model)), threat, noise)

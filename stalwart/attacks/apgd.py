"""Auto-PGD: gradient ascent that finds its own step length."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from stalwart.core import losses
from stalwart.core.adaptive import climb
from stalwart.core.component import at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise


@component
class apgd:
    """PGD with momentum whose step is halved for a sample when its loss stops rising, and that goes back to its best.

    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks"
    (ICML 2020), algorithm 1: z = Π(x + η s(∇ f(x))), x ← Π(x + α (z − x) + (1 − α) (x − x₋₁)), α = 0.75, η = 2 ε at
    first. It has no step to tune.

    Under L1 its steps change few entries, as many as each sample needs, and it begins in balls of 3 ε and 2 ε: Croce
    and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers" (ICML 2021).
    """

    steps: Annotated[int, at_least(1)] = 100
    """Steps of each run; one more forward and backward than these, under L1 three more."""
    restarts: Annotated[int, at_least(1)] = 1
    """Runs, each from a random point of the threat's edge; a sample that is done takes no part in the later ones."""
    loss: Literal["ce", "dlr", "margin"] = "ce"
    """ce: cross-entropy. dlr: the difference of logits ratio, which no scale of the logits hides anything from.
    margin: max_j z_j − z_y. A task without logits has its own loss in place of all three."""
    targets: Annotated[int, at_least(0)] = 0
    """Runs towards each sample's so many nearest rivals, one after the other, in place of runs towards any; 9 is
    AutoAttack's APGD-T with loss='dlr'. With fewer than four classes the gap to the rival itself is raised."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        result = clean.clone()
        live = torch.arange(len(clean), device=clean.device)
        rivals = self._rivals(clean, goal)  # (B, targets) or None
        runs = [(r, t) for r in range(self.restarts) for t in range(1 if rivals is None else rivals.shape[1])]
        for number, (restart, rank) in enumerate(runs):
            aim = goal if len(live) == len(clean) else goal.select(live)
            rival = None if rivals is None else rivals[live, rank]
            own = noise.fork("apgd", restart, rank).select(live)
            found = climb(clean[live], aim, threat, own, steps=self.steps, loss=self.loss, rival=rival)
            result[live] = found
            if number + 1 < len(runs):  # the last run's end is the judge's to look at
                with torch.no_grad():
                    reached = aim(found).reached
                live = live if reached is None else live[~reached]
                if not len(live):
                    break
        return result

    def _rivals(self, clean: Tensor, goal: Goal) -> Tensor | None:
        if not self.targets:
            return None
        with torch.no_grad():
            return losses.rivals(losses.gaps_of(goal(clean), "apgd(targets=...)"), self.targets)

"""SEA: an ensemble of three losses for semantic segmentation, each image at its worst."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from stalwart.core.adaptive import ball_of, climb
from stalwart.core.ascent import Unstopped
from stalwart.core.component import at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.losses import raising
from stalwart.core.queries import quiet
from stalwart.core.rng import Noise
from stalwart.core.stages import enter

LOSSES = ("divergence", "masked", "balanced")
"""The goal's losses, one after the other: Jensen and Shannon's divergence, masked cross-entropy, the same balanced over
the classes."""
SLOTS = ((0.3, 2.0), (0.3, 1.5), (0.4, 1.0))
"""(share of the steps, multiple of ε): the ball is drawn in, so that the last steps begin at a better point."""


@component
class sea:
    """Auto-PGD on each of three losses, from a ball of 2 ε through one of 1.5 ε to ε; of each image the worst counts.

    Croce, Singh and Hein, "Towards reliable evaluation and fast training of robust semantic segmentation models" (ECCV
    2024). Auto-PGD follows each loss itself. The worst is that of most wrong pixels, image by image, as the paper has
    it for pixel accuracy; mIoU is taken of these same images, where the paper searches greedily once more.

    A goal that has one loss alone, as other tasks' have, is climbed once. Under L∞ and L2.
    """

    steps: Annotated[int, at_least(10)] = 300
    """Steps of each loss, all three radii together."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        ball_of(threat, "sea")
        worst = clean.clone()
        most = torch.full((len(clean),), -torch.inf, device=clean.device)
        live = torch.arange(len(clean), device=clean.device)
        several = raising(goal, LOSSES[0]) is not None
        for kind in LOSSES if several else LOSSES[:1]:
            aim = goal.select(live)
            enter(aim, kind)
            chosen = raising(aim, kind) or aim
            found = self._drawn_in(clean[live], chosen, threat, noise.fork("sea", kind).select(live))
            with torch.no_grad():
                verdict = aim(found)
            value = verdict.loss if verdict.harm is None else verdict.harm
            higher = value > most[live]
            place = live[higher]
            worst[place], most[place] = found[higher], value[higher].float()
            if verdict.reached is not None:  # whoever looks for the first success alone is done with these
                worst[live[verdict.reached]] = found[verdict.reached]
                live = live[~verdict.reached]
            if not len(live):
                break
        return worst

    def _drawn_in(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        """One loss, slot by slot. What lies outside the threat is nobody's to judge."""
        x: Tensor | None = None
        for share, factor in SLOTS:
            wider: Any = replace(threat, epsilon=factor * threat.epsilon)  # type: ignore[type-var]
            aim = goal if factor == 1 else Unstopped(quiet(goal))
            x = climb(clean, aim, wider, noise.fork("slot", int(10 * factor)), steps=max(round(share * self.steps), 1),
                      loss="ce", start=x)  # fmt: skip
        assert x is not None
        return x

"""Goals of an attacker who has to pass a model and its detector together.

Each is reached where the model is wrong AND the detector is silent, and says so in one number to be raised, so that any
attack that climbs a goal's own loss (`pgd`, `apgd`) can climb it. The goal's `gaps` are left out on purpose: they would
speak of the model alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stalwart.core import features, losses
from stalwart.core.contracts import Detector, Goal, Verdict

ROOM = 0.1
"""How far beneath the threshold the summed loss still pulls, in spreads of the clean scores."""


@dataclass(frozen=True)
class Guard:
    """A fitted detector with its threshold."""

    detector: Detector
    fitted: Mapping[str, Tensor]
    threshold: float
    """Flags a score above it."""
    spread: float = 1.0
    """The scale of clean scores."""

    def slack(self, model: nn.Module, images: Tensor) -> Tensor:
        """(B,) how far each score is beneath the threshold, in spreads; at 0 or above the detector is silent."""
        return (self.threshold - self.detector.score(model, images, self.fitted)) / self.spread


class Evading:
    """The task's goal with the detector silent: the summed loss of Carlini and Wagner, "Adversarial examples are not
    easily detected" (AISec 2017).

        loss = min(L, cap) + weight · min(slack, room)

    Both terms end where enough is reached, so what is climbed then is the one that is still lacking (the selective loss
    of Bryniarski et al. 2022, with an overlap). The cap on the task's loss lies where its cross-entropy exceeds
    log R + 1, with R outcomes: such an image is wrong by a good margin.

    Args:
        weight: of the detector's part.
    """

    def __init__(self, goal: Goal, guard: Guard, weight: float = 1.0) -> None:
        self.goal, self.guard, self.weight = goal, guard, weight

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    def on(self, model: nn.Module) -> Evading:
        return Evading(self.goal.on(model), self.guard, self.weight)

    def select(self, index: Tensor) -> Evading:
        return Evading(self.goal.select(index), self.guard, self.weight)

    def __call__(self, images: Tensor) -> Verdict:
        verdict = self.goal(images)
        assert verdict.reached is not None
        slack = self.guard.slack(self.model, images)
        if verdict.gaps is None:  # wrong or not is all that such a task says
            done, wrong = verdict.reached, verdict.reached.float() * 2 - 1
        else:
            done = losses.cross_entropy(verdict.gaps.detach()) > math.log(verdict.gaps.shape[1]) + 1
            wrong = losses.margin(verdict.gaps)
        loss = torch.where(done, verdict.loss.detach(), verdict.loss) + self.weight * slack.clamp_max(ROOM)
        return Verdict(loss, verdict.reached & (slack >= 0), None, torch.stack([wrong, slack], 1))


class Matching:
    """Features like those of a clean image of another class, the guide, in every layer that is watched.

    Tramèr, Carlini, Brendel and Madry, "On adaptive attacks to adversarial example defenses" (NeurIPS 2020), after
    Sabour et al., "Adversarial manipulation of deep representations" (ICLR 2016):
        loss = −mean over layers ‖f(x) − f(guide)‖² / D_layer
    whatever the detector makes of features, it makes the same of equal ones.

    Args:
        guides: for each layer the guides' features (B, D).
        scales: for each layer how far clean images usually are from one another, squared.
    """

    def __init__(self, judged: Evading, guides: tuple[Tensor, ...], scales: tuple[float, ...]) -> None:
        self.judged, self.guides, self.scales = judged, guides, scales

    @property
    def model(self) -> nn.Module:
        return self.judged.model

    def on(self, model: nn.Module) -> Matching:
        return Matching(self.judged.on(model), self.guides, self.scales)

    def select(self, index: Tensor) -> Matching:
        return Matching(self.judged.select(index), tuple(guide[index] for guide in self.guides), self.scales)

    def __call__(self, images: Tensor) -> Verdict:
        with torch.no_grad():
            reached = self.judged(images).reached
        layers = features.watch(self.model, images).layers
        apart = [
            (layer - guide).square().sum(1) / scale
            for layer, guide, scale in zip(layers, self.guides, self.scales, strict=True)
        ]
        return Verdict(-torch.stack(apart).mean(0), reached)

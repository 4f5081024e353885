"""Decoupled direction and norm: the length of the change is set by successes alone, the ascent only turns it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import Nearest, Record, annealed, draw_in, exponent, look
from stalwart.core.rng import Noise


@component
class ddn:
    """Turns a change of length ε uphill, and shortens ε at a success or lengthens it at a failure.

    Rony et al., "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses" (CVPR
    2019), algorithm 1: δ ← δ + α ∇ / ‖∇‖₂, ε ← (1 ∓ γ) ε, x ← clip(clean + ε δ / ‖δ‖₂); α falls by a cosine. Three
    things are not the paper's: ε begins where the model made linear has its boundary and not at 1, the gap to the
    nearest rival is raised, which no scale of the logits flattens as it does cross-entropy, and the last image is drawn
    in along its line to the boundary.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    steps: Annotated[int, at_least(1)] = 100
    """Steps; a forward and a backward pass each."""
    step: Annotated[float, above(0)] = 1.0
    """α: Euclidean length of the first step; it falls to a hundredth."""
    gamma: Annotated[float, between(0, 0.9)] = 0.05
    """γ: the share by which ε moves at each step."""
    rivals: Annotated[int, at_least(1)] = 9
    """Nearest rival classes to choose among."""
    looks: Annotated[int, at_least(0)] = 3
    """Forward passes for the last pull inwards."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        record, nearest = Record(clean, exponent(threat, "ddn", (2,))), Nearest(2, self.rivals)
        everyone = torch.arange(len(clean), device=clean.device)
        most = balls.norm(torch.maximum(clean, 1 - clean), 2)
        x, length = clean, torch.zeros_like(most)
        for step in range(self.steps + 1):
            margin, gap, slope, _ = look(x, goal, "ddn", nearest)
            if not step:
                record.behind = margin
                length = gap.abs() / balls.norm(slope, 2).clamp_min(balls.TINY) / (1 + self.gamma)
            record.offer(x, margin, everyone)
            if step == self.steps:
                break
            length = torch.where(margin > 0, length * (1 - self.gamma), length * (1 + self.gamma)).minimum(most)
            turned = x - clean + annealed(self.step, self.step / 100, step, self.steps) * balls.steepest(slope, 2)
            x = (clean + balls.steepest(turned, 2) * balls.each(length, clean)).clamp_(0, 1)
        draw_in(record, goal, "ddn", self.looks)
        return record.images

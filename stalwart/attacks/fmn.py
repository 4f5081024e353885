"""Fast minimum-norm attack: ascent within a ball that shrinks at a success and grows at a failure."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import Nearest, Record, ahead, annealed, draw_in, exponent, look
from stalwart.core.rng import Noise


@component
class fmn:
    """Follows the boundary by two steps in turn: of ε towards the boundary, and of the change within ε.

    Pintor, Roli, Brendel and Biggio, "Fast minimum-norm adversarial attacks through adaptive norm constraints" (NeurIPS
    2021), algorithm 1, under L0, L1, L2 and L∞: δ ← Π(δ + α ∇ / ‖∇‖₂), projected on the ball of ε and the box;
    ε ← min(ε (1 − γ), ‖best δ‖) at a success, ε (1 + γ) after a failure, and ‖δ‖ + |gap| / ‖∇‖_q as long as there was
    no success; α and γ fall by a cosine. What is not the paper's: α is a share of the ball, where the paper has a
    length for each data set; ε never shrinks before the first success; the rival under L2 and L∞ is the nearest by
    |gap| / ‖∇‖_q; and the last image is drawn in along its line to the boundary.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    steps: Annotated[int, at_least(1)] = 100
    """Steps; a forward and a backward pass each."""
    step: Annotated[float, above(0)] = 1.0
    """α: length of the first step as a share of the ball's extent, 1 under L0; it falls to a hundredth."""
    gamma: Annotated[float, between(0, 0.9)] = 0.05
    """γ: the share by which ε moves at first; it falls to 0.001."""
    rivals: Annotated[int, at_least(1)] = 9
    """Nearest rival classes to choose among under L2 and L∞; under L0 and L1 the largest logit is pushed."""
    looks: Annotated[int, at_least(0)] = 3
    """Forward passes for the last pull inwards."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "fmn", (0, 1, 2, math.inf))
        record, nearest = Record(clean, p), Nearest(p, self.rivals) if p > 1 else None
        everyone = torch.arange(len(clean), device=clean.device)
        most = balls.norm(torch.maximum(clean, 1 - clean), p)  # no ball needs to be larger
        x = clean
        bound = torch.zeros_like(most)
        for step in range(self.steps):
            margin, gap, slope, _ = look(x, goal, "fmn", nearest)
            if not step:
                record.behind = margin
            record.offer(x, margin, everyone)
            gamma = annealed(self.gamma, 0.001, step, self.steps)
            won = margin > 0
            if p == 0:
                less = torch.minimum(bound - 1, (bound * (1 - gamma)).floor())
                more = torch.maximum(bound + 1, (bound * (1 + gamma)).floor())
                bound = torch.where(won, torch.minimum(less, record.size), more).clamp_min(1)
            else:
                far = balls.norm(x - clean, p) + gap.abs() / balls.norm(slope, balls.dual(p)).clamp_min(balls.TINY)
                outward = torch.where(record.found | (bound > far), bound * (1 + gamma), far)
                bound = torch.where(won, torch.minimum(bound * (1 - gamma), record.size), outward)
            bound = torch.minimum(bound, most)
            length = _extent(bound, p, clean[0].numel()) * annealed(self.step, self.step / 100, step, self.steps)
            moved = x - clean + balls.each(length, x) * balls.steepest(slope, 2)
            x = (clean + balls.project(moved, bound, p)).clamp_(0, 1)
        record.offer(x, ahead(x, goal, "fmn"), everyone)
        draw_in(record, goal, "fmn", self.looks if p else 8)
        return record.images


def _extent(bound: Tensor, p: float, entries: int) -> Tensor:
    """(B,) the Euclidean length of the longest change of norm `bound`."""
    if p == 0:
        return torch.ones_like(bound)
    return bound * math.sqrt(entries) if p == math.inf else bound

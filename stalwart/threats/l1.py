"""The L1 ball: the sum of all changes is at most ε."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import at_least, between, component
from stalwart.core.rng import Noise


@component
class l1:
    """{x : ‖x − clean‖₁ ≤ ε} within [0, 1], projected onto exactly, ball and box together.

    Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers" (ICML 2021). Projecting
    onto the ball and then cutting to the box is not the nearest point, and costs an attack most of its strength.
    """

    p: ClassVar[float] = 1.0
    """The norm's exponent."""

    epsilon: Annotated[float, at_least(0)]
    """The sum over all channels and pixels, in the pixel scale [0, 1]; 12 is usual for CIFAR-10."""
    dense: Annotated[float, between(0, 1)] = 0.05
    """Share of the entries that one step of ascent changes. The steepest step of all changes a single one, and would
    need thousands of steps (Tramèr and Boneh, "Adversarial training and robustness for multiple perturbations",
    NeurIPS 2019, section 3)."""

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """Uniform in the ball, then projected: exponential sizes (Barthe et al. 2005), random signs."""
        shape = clean.shape[1:]
        size = -(1 - noise.uniform(shape)).clamp_min(1e-7).log()
        signs = (noise.uniform(shape) < 0.5).to(clean.dtype) * 2 - 1
        radius = self.epsilon * noise.uniform() ** (1 / clean[0].numel())
        shift = size * signs * balls.each(radius / balls.norm(size, 1), clean)
        return self.project(clean + shift.to(clean.dtype), clean)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        """Along the signs of the entries of steepest gradient that still have room in the box, all by as much."""
        room = torch.where(gradient > 0, images < 1, images > 0)
        slope = (gradient.abs() * room).flatten(1)
        count = max(1, round(self.dense * slope.shape[1]))
        chosen = torch.zeros_like(slope).scatter_(1, slope.topk(count, dim=1).indices, 1.0)
        direction = (chosen * (slope > 0)).view_as(images) * gradient.sign()
        return images + direction * balls.each(step / balls.norm(direction, 1).clamp_min(1.0), images)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Proposition 2.1 of the paper: each change d becomes sign(d) · min(max(|d| − λ, 0), room), for one λ ≥ 0.

        The sum of these falls with λ in straight pieces, whose ends are |d| and |d| − room: sorted, one of them holds
        the λ at which the sum is ε.
        """
        shift = (images - clean).flatten(1)
        size = shift.abs()  # (B, N)
        room = torch.where(shift > 0, 1 - clean.flatten(1), clean.flatten(1)).clamp_min(0)
        low = (size - room).clamp_min(0)  # below this λ the entry stands at its wall
        ends, order = torch.cat([size, low], 1).sort(1, descending=True)
        turns = torch.cat([torch.ones_like(size), -torch.ones_like(low)], 1).gather(1, order)
        moving = turns.cumsum(1)  # entries that grow as λ falls below this end
        pieces = moving[:, :-1] * (ends[:, :-1] - ends[:, 1:])
        total = torch.cat([torch.zeros_like(ends[:, :1]), pieces.cumsum(1)], 1)  # the sum at each end
        at = ((total <= self.epsilon).sum(1, keepdim=True) - 1).clamp_min(0)
        left = (self.epsilon - total.gather(1, at)).clamp_min(0)
        level = ends.gather(1, at) - left / moving.gather(1, at).clamp_min(1)
        whole = (torch.minimum(size, room).sum(1, keepdim=True) <= self.epsilon).to(size.dtype)
        level = (level * (1 - whole)).clamp_min(0)
        kept = torch.minimum((size - level).clamp_min(0), room)
        return (clean + (kept * shift.sign()).view_as(clean)).clamp_(0, 1)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return balls.norm(images - clean, 1)

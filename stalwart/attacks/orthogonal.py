"""Orthogonal PGD: ascent of a goal of two parts, each without a step back for the other."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.rng import Noise

PARALLEL = 1e-3
"""Where less than this share of a gradient is orthogonal to the other, the gradient is taken whole."""


@component
class orthogonal:
    """PGD that climbs what is still lacking, along the part of its gradient that leaves the other part alone.

    Bryniarski, Hingun, Pachuca, Wang and Carlini, "Evading adversarial example detection defenses with orthogonal
    projected gradient descent" (ICLR 2022), section 4: with ∇f of the model's part and ∇g of the detector's,
        ∇f − ⟨∇f, ∇g⟩/‖∇g‖² ∇g   until the model is wrong, then   ∇g − ⟨∇g, ∇f⟩/‖∇f‖² ∇f   until the detector is silent,
    and back again. One forward and two backwards a step. Of a goal that is one thing it is PGD.
    """

    steps: Annotated[int, at_least(1)] = 50
    """Gradient steps."""
    step: Annotated[float, above(0)] | None = None
    """Length of a step as a fraction of ε; None takes 5 / steps: the two parts take turns."""
    random_start: bool = True
    """Begin at a random point of the threat."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        result = clean.clone()
        length = (5 / self.steps if self.step is None else self.step) * threat.epsilon
        live = torch.arange(len(clean), device=clean.device)
        x = threat.start(clean, noise.fork("start", 0)) if self.random_start else clean.clone()
        origin, aim = clean, goal
        for _ in range(self.steps):
            slope, reached = _look(x, aim)
            if reached is not None and bool(reached.any()):
                result[live[reached]] = x[reached]
                keep = (~reached).nonzero().squeeze(1)
                if not len(keep):
                    return result
                live, x, origin, slope, aim = live[keep], x[keep], origin[keep], slope[keep], aim.select(keep)
            x = threat.project(threat.ascend(x, slope, length), origin)
        result[live] = x
        return result


def _look(x: Tensor, goal: Goal) -> tuple[Tensor, Tensor | None]:
    """The direction to go (B, C, H, W), and what is reached (B,)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        verdict = goal(x)
        if verdict.parts is None:
            return _slope(verdict.loss, x, keep=False), verdict.reached
        first, second = (verdict.parts[:, part] for part in (0, 1))
        f, g = _slope(first, x, keep=True), _slope(second, x, keep=False)
    wrong = balls.each((first.detach() > 0), x)
    return torch.where(wrong, _apart(g, f), _apart(f, g)), verdict.reached


def _slope(loss: Tensor, x: Tensor, keep: bool) -> Tensor:
    if not loss.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(loss.sum(), x, retain_graph=keep, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope.nan_to_num(0.0, 0.0, 0.0)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """`one` without its share along `other`, sample by sample."""
    unit = balls.steepest(other, 2)
    left = one - balls.each((one * unit).flatten(1).sum(1), one) * unit
    enough = balls.norm(left, 2) > PARALLEL * balls.norm(one, 2)
    return torch.where(balls.each(enough, one), left, one)

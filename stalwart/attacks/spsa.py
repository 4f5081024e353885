"""SPSA and NES: gradient ascent whose gradients are estimated from scores at random pairs of points."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import exponent
from stalwart.core.queries import Asker
from stalwart.core.rng import Noise

BETA1, BETA2 = 0.9, 0.999
"""Adam's decays (Kingma and Ba, ICLR 2015)."""


@component
class spsa:
    """Adam on a slope that is estimated from scores: Σ (f(x + δ u) − f(x − δ u)) u / 2 δ over random u. L∞ and L2.

    Uesato, O'Donoghue, van den Oord and Kohli, "Adversarial risk and the dangers of evaluating against weak attacks"
    (ICML 2018), algorithm 1, with u of random signs (Spall 1992). With `directions='normal'` it is the estimator of
    NES: Ilyas, Engstrom, Athalye and Lin, "Black-box adversarial attacks with limited queries and information"
    (ICML 2018), section 2.1, which has always come in such antithetic pairs. It raises the margin, or the goal's own
    loss where a task has none. No gradients, so nothing can mask them, and its estimate looks over walls that are
    thinner than δ.
    """

    steps: Annotated[int, at_least(1)] = 100
    """Steps; a sample whose goal is reached takes no more."""
    pairs: Annotated[int, at_least(1)] = 64
    """Random directions of each step. A step takes 2 `pairs` + 1 forward passes of each image."""
    directions: Literal["signs", "normal"] = "signs"
    """signs: SPSA. normal: NES."""
    delta: Annotated[float, above(0)] = 0.01
    """δ, in pixels' values."""
    step: Annotated[float, above(0)] = 0.1
    """Length of a step of Adam as a share of ε: of a pixel's change under L∞, of the whole change under L2."""

    @torch.no_grad()
    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "spsa", (2, math.inf))
        pace = self.step * threat.epsilon / (1.0 if p == math.inf else math.sqrt(clean[0].numel()))
        asker, own = Asker(goal, len(clean), "spsa"), noise.fork("spsa")
        result, live, x, origin, aim = clean.clone(), torch.arange(len(clean), device=clean.device), clean, clean, goal
        mean, square = torch.zeros_like(clean), torch.zeros_like(clean)
        for step in range(1, self.steps + 1):
            slope = self._slope(x, asker, live, own.fork("step", step).select(live))
            mean, square = BETA1 * mean + (1 - BETA1) * slope, BETA2 * square + (1 - BETA2) * slope.square()
            way = mean / (1 - BETA1**step) / ((square / (1 - BETA2**step)).sqrt() + balls.TINY)
            x = threat.project(x + pace * way, origin)
            reached = aim(x).reached
            if reached is not None and bool(reached.any()):
                result[live[reached]] = x[reached]
                keep = (~reached).nonzero().squeeze(1)
                if not len(keep):
                    return result
                live, x, origin, aim = live[keep], x[keep], origin[keep], aim.select(keep)
                mean, square = mean[keep], square[keep]
        result[live] = x
        return result

    def _slope(self, x: Tensor, asker: Asker, index: Tensor, noise: Noise) -> Tensor:
        """(b, C, H, W) the estimate at x; at a wall of the box a direction counts with what the box leaves of it."""
        total = torch.zeros_like(x)
        for group, count, rows in asker.groups(len(x), self.pairs):
            draw = noise.fork("group", group).select(rows)
            shape = (count, *x.shape[1:])
            drawn = draw.normal(shape) if self.directions == "normal" else (draw.uniform(shape) < 0.5) * 2.0 - 1
            here, u = x[rows][:, None], drawn.to(x.dtype) * self.delta  # (b, 1, ...), (b, count, C, H, W)
            pair = torch.cat([here + u, here - u], 1).clamp_(0, 1)
            up, down = asker.score(pair, index[rows]).to(x.dtype).chunk(2, 1)  # (b, count)
            ahead, behind = pair.chunk(2, 1)
            total[rows] += ((up - down)[:, :, None, None, None] * (ahead - behind)).sum(1)
        return total / (4 * self.delta**2 * self.pairs)

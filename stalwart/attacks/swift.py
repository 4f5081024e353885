"""Swift: what AutoAttack finds, for a small part of its passes."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from stalwart.core import balls, catalog, losses
from stalwart.core.adaptive import ball_of, climb
from stalwart.core.component import at_least, component
from stalwart.core.contracts import Attack, Goal, Threat
from stalwart.core.rng import Noise
from stalwart.core.stages import enter

SHORT = 25
"""Steps of the first run, which is all that most samples need."""
BRIEF = 8
"""Steps before it under L1, where its own begin outside the threat: what falls within it at once need not wait."""
NEAREST = 9
"""Rivals that are ordered by how far away they are."""


@component
class swift:
    """A short Auto-PGD, then runs towards the rivals that are nearest in the model's own geometry, survivors only.

    The rival to push a sample towards is the one whose boundary is nearest to first order: the gap over its gradient's
    dual norm, (z_y − z_j) / ‖∇(z_y − z_j)‖_q, and not the one of the highest logit (Melamed et al., "MALT powers up
    adversarial attacks", NeurIPS 2024). Runs begin where the run before ended, pushed to the threat's edge, rather than
    anywhere (after Liu et al., "Practical evaluation of adversarial robustness via adaptive auto attack", CVPR 2022).

    Budget for a sample that stands to the end, forwards and backwards each: 26 for the first run, 1 and 9 for the
    order, then `steps` + 1 for each of `targets` + 1 runs: 26 + 9 + 6 · 46 ≈ 310 by default, where AutoAttack's
    standard version spends 1,919 backwards and 7,000 forwards or more. It is a quick figure, not an AutoAttack one;
    `confirm` hands what stands to AutoAttack itself, and then the figure is at least as strong.

    Under L1 a run begins in wider balls (`apgd`), where nothing counts, and what it finds hangs on where it began. So a
    run within ε alone comes first; half as many runs go towards rivals, by the targeted DLR, and three towards any, by
    three losses, each from a point of its own: 9 + 28 + 10 + 6 · 48 ≈ 335.
    """

    steps: Annotated[int, at_least(1)] = 45
    """Steps of each run after the first."""
    targets: Annotated[int, at_least(1)] = 5
    """Rivals that a sample is pushed towards, nearest first; half as many under L1, rounded up."""
    confirm: bool = False
    """Run `autoattack()` on what stands in the end."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        ball = ball_of(threat, "swift", (1, 2, math.inf))
        if self.confirm:
            enter(goal, "swift")
        result, live = clean.clone(), torch.arange(len(clean), device=clean.device)
        if ball.p == 1:
            result = climb(clean, goal, threat, noise, steps=BRIEF, loss="ce", start=clean, wider=False)
            live = _standing(result, goal, live)
            if not len(live):
                return result
        aim = goal.select(live)
        first = noise.fork("first").select(live)
        result[live] = climb(clean[live], aim, threat, first, steps=SHORT, loss="ce")
        live = _standing(result, goal, live)
        if not len(live):
            return result
        rivals = _order(clean[live], goal.select(live), ball.p)  # (b, targets) or None
        sparse = ball.p == 1
        targets = -(-self.targets // 2) if sparse else self.targets
        runs = 1 if rivals is None else min(targets, rivals.shape[1])
        rivals_of = torch.zeros(len(clean), runs, dtype=torch.int64, device=clean.device)
        if rivals is not None:
            rivals_of[live] = rivals[:, :runs]
        anyone = ("ce", "margin", "dlr") if sparse else ("dlr",)  # once more towards any, from anywhere
        plan = [("dlr" if sparse else "margin", rank) for rank in range(runs)] + [(loss, None) for loss in anyone]
        for run, (loss, rank) in enumerate(plan):
            aim = goal.select(live)
            found = climb(
                clean[live],
                aim,
                threat,
                noise.fork("run", run).select(live),
                steps=self.steps,
                loss=loss,
                rival=None if rank is None or rivals is None else rivals_of[live, rank],
                start=None if run or sparse else _stretched(result[live], clean[live], threat, ball.p),
            )
            result[live] = found
            if run + 1 == len(plan) and not self.confirm:
                break
            live = _standing(result, goal, live)
            if not len(live):
                return result
        if self.confirm:
            exact: Attack = catalog.make("autoattack()", "attacks")
            result[live] = exact(clean[live], goal.select(live), threat, noise.fork("confirm").select(live))
        return result


@torch.no_grad()
def _standing(images: Tensor, goal: Goal, live: Tensor) -> Tensor:
    """(b,) int64: which of the samples `live` do not reach the goal at these images, the ends of a climb."""
    aim = goal.select(live)
    known = getattr(aim, "fallen", None)  # a climb looks at its ends: who judges needs no other pass
    reached = aim(images[live]).reached if known is None else known()
    return live if reached is None else live[~reached]


def _stretched(images: Tensor, clean: Tensor, threat: Threat, p: float) -> Tensor:
    """The change made as long as the threat allows: an end inside the ball has room left."""
    shift = images - clean
    return clean + shift * balls.each(threat.epsilon / balls.norm(shift, p).clamp_min(balls.TINY), shift)


def _order(clean: Tensor, goal: Goal, p: float) -> Tensor | None:
    """(B, R) the rivals by first-order distance, nearest first; None where the task gives no gaps."""
    x = clean.detach().requires_grad_()
    with torch.enable_grad():
        gaps = goal(x).gaps
        if gaps is None or not gaps.requires_grad:
            return None
        near = losses.rivals(gaps, NEAREST)  # (B, R)
        away = []
        for rank in range(near.shape[1]):
            gap = losses.toward(gaps, near[:, rank])
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=rank + 1 < near.shape[1])
            away.append(-gap.detach() / balls.norm(slope, balls.dual(p)).clamp_min(balls.TINY))
    order = torch.stack(away, 1).argsort(1)
    return near.gather(1, order)

"""Auto-PGD's ascent: steps with momentum whose length each sample finds for itself. APGD and the ensembles share it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from stalwart.core import balls, sparse
from stalwart.core.contracts import Ball, Goal, Threat
from stalwart.core.least import exponent
from stalwart.core.looks import LOSSES, look
from stalwart.core.rng import Noise

MOMENTUM = 0.75
RHO = 0.75
"""A step is too long where fewer than this share of the last steps raised the loss."""


@dataclass
class _State:
    """What goes on for each live sample."""

    place: Tensor  # (B,) where it stands in the batch that was given
    clean: Tensor
    x: Tensor
    before: Tensor  # the point one step back, for the momentum
    gradient: Tensor
    best: Tensor  # the point of highest loss
    best_gradient: Tensor
    loss: Tensor  # (B,) at x
    best_loss: Tensor
    checked_loss: Tensor  # the highest loss at the last check
    step: Tensor  # (B,) length
    halved: Tensor  # (B,) bool: at the last check
    rises: Tensor  # (B,) steps since the last check that raised the loss
    rival: Tensor | None

    def keep(self, index: Tensor) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                setattr(self, field.name, value[index])


def climb(
    clean: Tensor,
    goal: Goal,
    threat: Threat,
    noise: Noise,
    *,
    steps: int,
    loss: str,
    rival: Tensor | None = None,
    start: Tensor | None = None,
    wider: bool = True,
) -> Tensor:
    """Under L∞ and L2 algorithm 1 of Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks" (ICML 2020): each sample has its own step length and goes back to its best point
    when that is halved. Under L1 `sparse.climb`.

    `steps` + 1 forwards and backwards for each sample at most, under L1 two more; what reaches the goal leaves at once.

    Args:
        loss: 'ce', 'margin' or 'dlr'.
        rival: (B,) the outcome that each sample is pushed towards, by its column of the gaps; None for any.
        start: (B, C, H, W) where to begin; None for a random point on the threat's edge.
        wider: under L1, begin in wider balls.

    Returns:
        (B, C, H, W): the point that reached the goal, else the one of highest loss.
    """
    p = ball_of(threat, "apgd", (1, 2, math.inf)).p
    raise_ = LOSSES[loss]
    if p == 1:
        return sparse.climb(
            clean, goal, threat, noise, steps=steps, raise_=raise_, rival=rival, start=start, wider=wider
        )
    x = _edge(clean, threat, noise, p) if start is None else threat.project(start, clean)
    value, gradient, reached = look(x, goal, raise_, rival)
    result = x.clone()
    epsilon = torch.full((len(clean),), float(threat.epsilon), device=clean.device, dtype=clean.dtype)
    s = _State(
        torch.arange(len(clean), device=clean.device), clean, x, x, gradient, x, gradient, value, value, value,
        2 * epsilon, torch.ones_like(value, dtype=torch.bool), torch.zeros_like(value), rival,
    )  # fmt: skip
    aim = goal
    check, fewest, shorter = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    since = 0
    for step in range(steps):
        if reached is not None and bool(reached.any()):
            result[s.place[reached]] = s.x[reached]
            live = (~reached).nonzero().squeeze(1)
            if not len(live):
                return result
            s.keep(live)
            aim = aim.select(live)
        drift = s.x - s.before
        weight = MOMENTUM if step else 1.0
        s.before = s.x
        moved = threat.project(s.x + balls.steepest(s.gradient, p) * balls.each(s.step, s.x), s.clean)
        s.x = threat.project(s.x + (moved - s.x) * weight + drift * (1 - weight), s.clean)
        value, s.gradient, reached = look(s.x, aim, raise_, s.rival)
        s.rises = s.rises + (value > s.loss)
        s.loss = value
        higher = value > s.best_loss
        wide = higher.view(-1, 1, 1, 1)
        s.best, s.best_gradient = torch.where(wide, s.x, s.best), torch.where(wide, s.gradient, s.best_gradient)
        s.best_loss = torch.where(higher, value, s.best_loss)
        since += 1
        if since == check:
            stuck = ~s.halved & (s.checked_loss >= s.best_loss)
            s.halved = (s.rises <= RHO * check) | stuck
            s.checked_loss = s.best_loss
            wide = s.halved.view(-1, 1, 1, 1)
            s.step = torch.where(s.halved, s.step / 2, s.step)
            s.x, s.gradient = torch.where(wide, s.best, s.x), torch.where(wide, s.best_gradient, s.gradient)
            s.loss = torch.where(s.halved, s.best_loss, s.loss)
            s.rises = torch.zeros_like(s.rises)
            check, since = max(check - shorter, fewest), 0
    result[s.place] = s.best
    if reached is not None:
        result[s.place[reached]] = s.x[reached]
    return result


def ball_of(threat: Threat, who: str, served: tuple[float, ...] = (2, math.inf)) -> Ball:
    """The threat as the ball that an attack needs, of a norm that it serves.

    Raises:
        InputError: another threat.
    """
    exponent(threat, who, served)
    return threat  # type: ignore[return-value]


def _edge(clean: Tensor, threat: Threat, noise: Noise, p: float) -> Tensor:
    """A random direction, gone to the edge of the threat."""
    direction = noise.uniform(clean.shape[1:], -1, 1) if p != 2 else noise.normal(clean.shape[1:])
    size = balls.norm(direction, p).clamp_min(balls.TINY)
    return threat.project(clean + direction.to(clean.dtype) * balls.each(threat.epsilon / size, clean), clean)

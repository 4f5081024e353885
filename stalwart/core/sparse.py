"""Auto-PGD under L1: steps along the largest slopes alone, whose number each sample finds for itself."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Goal, Threat
from stalwart.core.looks import Loss, look
from stalwart.core.queries import quiet
from stalwart.core.rng import Noise

WIDER = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Radii in units of ε, and the share of the steps that is spent within each (section 3.4 of the paper)."""
FIRST_SHARE = 0.2
"""Of the entries, that the first steps change."""
SPARSER = 1.5
"""A step changes so many times fewer entries than the best point differs in; a step length falls by the same."""
SHORTEST = 10.0
"""The last step length is the first one by this."""


@dataclass
class _State:
    """What goes on for each live sample."""

    place: Tensor  # (B,) where it stands in the batch that was given
    clean: Tensor
    x: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step: Tensor  # (B,) length
    share: Tensor  # (B,) of the entries that a step changes
    spread: Tensor  # (B,) entries in which the best point differed at the last check
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
    raise_: Loss,
    rival: Tensor | None = None,
    start: Tensor | None = None,
    wider: bool = True,
) -> Tensor:
    """Algorithm 1 of Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers"
    (ICML 2021), begun in wider balls: the best point of each is drawn into the next.

    `steps` + 3 forwards and backwards for each sample at most; what reaches the goal within ε leaves at once.

    Args:
        threat: an L1 ball whose `project` is exact on ball and box together.
        raise_: what each sample's ascent raises.
        rival: (B,) the outcome that each sample is pushed towards; None for any.
        start: (B, C, H, W) where to begin; None for a random point of the threat.
        wider: begin in the wider balls; without, all steps are within ε, and the passes are `steps` + 1.

    Returns:
        (B, C, H, W): the point that reached the goal, else the one of highest loss within ε.
    """
    if start is None:
        start = threat.project(clean + noise.normal(clean.shape[1:]).to(clean.dtype), clean)
    entries = clean[0].numel()
    spread = torch.full((len(clean),), float(entries), device=clean.device)
    share = torch.full_like(spread, FIRST_SHARE)
    left = steps
    for factor, part in WIDER if wider else WIDER[-1:]:
        last = factor == 1.0
        count = left if last else int(part * steps)
        if not count and not last:
            continue
        left -= count
        ball: Threat = threat if last else replace(threat, epsilon=factor * threat.epsilon)  # type: ignore[type-var]
        # What the wider balls hold is no candidate: their points are neither judged nor done.
        aim = goal if last else Unstopped(quiet(goal))
        start = _climb(clean, aim, ball, ball.project(start, clean), share, spread, count, raise_, rival)
        spread = (start != clean).flatten(1).sum(1).to(spread.dtype)
        share = spread / entries / SPARSER
    return start


def _climb(
    clean: Tensor,
    goal: Goal,
    threat: Threat,
    start: Tensor,
    share: Tensor,
    spread: Tensor,
    steps: int,
    raise_: Loss,
    rival: Tensor | None,
) -> Tensor:
    value, gradient, reached = look(start, goal, raise_, rival)
    result = start.clone()
    place = torch.arange(len(clean), device=clean.device)
    length = torch.full_like(share, float(threat.epsilon))
    s = _State(place, clean, start, gradient, start, gradient, value, length, share, spread, rival)
    entries, check, since = clean[0].numel(), max(int(0.04 * steps), 1), 0
    for _ in range(steps):
        if reached is not None and bool(reached.any()):
            result[s.place[reached]] = s.x[reached]
            live = (~reached).nonzero().squeeze(1)
            if not len(live):
                return result
            s.keep(live)
            goal = goal.select(live)
        s.x = threat.project(s.x + _sparse(s.gradient, s.share, s.step), s.clean)
        value, s.gradient, reached = look(s.x, goal, raise_, s.rival)
        higher = value > s.best_loss
        wide = higher.view(-1, 1, 1, 1)
        s.best, s.best_gradient = torch.where(wide, s.x, s.best), torch.where(wide, s.gradient, s.best_gradient)
        s.best_loss = torch.where(higher, value, s.best_loss)
        since += 1
        if since == check:
            now = (s.best != s.clean).flatten(1).sum(1).to(s.spread.dtype)
            sparser = now < 0.95 * s.spread
            s.share, s.spread = now / entries / SPARSER, now
            shorter = (s.step / SPARSER).clamp_min(threat.epsilon / SHORTEST)
            s.step = torch.where(sparser, torch.full_like(s.step, float(threat.epsilon)), shorter)
            wide = sparser.view(-1, 1, 1, 1)
            s.x, s.gradient = torch.where(wide, s.best, s.x), torch.where(wide, s.best_gradient, s.gradient)
            since = 0
    result[s.place] = s.best
    if reached is not None:
        result[s.place[reached]] = s.x[reached]
    return result


def _sparse(gradient: Tensor, share: Tensor, length: Tensor) -> Tensor:
    """(B, C, H, W) a step of L1 norm `length` (B,) along the signs of the largest `share` (B,) of the slopes."""
    slope = gradient.abs().flatten(1)  # (B, N)
    entries = slope.shape[1]
    # Of n entries in rising order, the first that is taken stands at (1 − share) n.
    rank = ((1 - share) * entries).long().clamp(0, entries - 1)
    least = slope.sort(1).values.gather(1, rank[:, None])
    signs = gradient.sign() * (slope >= least).view_as(gradient)
    return signs * balls.each(length / balls.norm(signs, 1).clamp_min(1.0), signs)

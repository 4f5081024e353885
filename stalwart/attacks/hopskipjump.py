"""HopSkipJump: walks along the decision boundary with a direction that decisions alone give."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import exponent
from stalwart.core.queries import Asker, begin, firm, pull
from stalwart.core.rng import Noise

HALVINGS = 20
"""Step lengths that are tried before a sample stays where it is."""
FINEST = 2.0**-16
"""The finest share of a change that float32 images can tell."""


@component
class hopskipjump:
    """The smallest change by decisions alone: no gradient, no score, only whether the goal is reached. L2 and L∞.

    Chen, Jordan and Wainwright, "HopSkipJumpAttack: a query-efficient decision-based attack" (S&P 2020), algorithm 2.
    Each round estimates the boundary's normal at an image on it from random probes (equation 16), steps along it (along
    its sign under L∞) by ‖x − clean‖ / √t, halved until the goal is reached, and draws the image back to the boundary
    by bisection. Round t has `probes` √t probes, those of all images in few passes. It begins at random images, so a
    targeted goal is seldom begun at all; a sample without a beginning stays as it is.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    queries: Annotated[int, at_least(1)] = 5000
    """Forward passes of each image at most; a round that would not fit is not begun."""
    probes: Annotated[int, at_least(1)] = 100
    """Probes of the first round."""
    tries: Annotated[int, at_least(1)] = 101
    """Random images that are tried as a beginning."""

    @torch.no_grad()
    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "hopskipjump", (2, math.inf))
        asker, own = Asker(goal, len(clean), "hopskipjump"), noise.fork("hopskipjump")
        result, found, spent = begin(clean, asker, own, min(self.tries, self.queries))
        d = clean[0].numel()
        # θ of section IV-B, as a share of the change: how near to the boundary counts as on it.
        fine = max(d**-1.5 if p == 2 else d**-2.0, FINEST)
        looks = math.ceil(-math.log2(fine))
        live = begun = (found & (spent + looks + 1 <= self.queries)).nonzero().squeeze(1)
        result[live] = pull(result[live], clean[live], asker, live, p, looks)
        spent[live] += looks + 1  # the last query of each, for `firm`, is set aside
        x, size = result.clone(), balls.norm(result - clean, p)
        t = 1
        while True:
            probes = int(self.probes * math.sqrt(t))
            live = live[spent[live] + probes + looks + 1 <= self.queries]
            if not len(live):
                result[begun] = firm(result[begun], clean[begun], asker, begun)
                return result
            at, origin = x[live], clean[live]
            far = balls.norm(at - origin, p)
            # δ = √d θ ‖x − clean‖₂ or d θ ‖x − clean‖∞, the length of a probe in L2; the first is the authors' own.
            delta = torch.full_like(far, 0.1) if t == 1 else far * fine * (math.sqrt(d) if p == 2 else d)
            normal = _normal(at, delta, probes, asker, live, own.fork("probes", t).select(live), p)
            room = self.queries - spent[live] - probes - looks
            moved, used = _step(at, balls.steepest(normal, p), far / math.sqrt(t), asker, live, room)
            x[live] = pull(moved, origin, asker, live, p, looks)
            spent[live] += probes + looks + used
            now = balls.norm(x[live] - origin, p)
            better = now < size[live]
            result[live[better]] = x[live[better]]
            size[live] = torch.minimum(now, size[live])
            t += 1


def _normal(x: Tensor, delta: Tensor, probes: int, asker: Asker, index: Tensor, noise: Noise, p: float) -> Tensor:
    """Equation 16 but for its scale: Σ (φ − mean φ) u over probes x + δ u, φ = ±1 where the goal is (not) reached."""
    probed, steered = torch.zeros_like(x), torch.zeros_like(x)
    balance = torch.zeros_like(delta)
    for group, count, rows in asker.groups(len(x), probes):
        draw = noise.fork("group", group).select(rows)
        shape = (count, *x.shape[1:])
        u = (draw.normal(shape) if p == 2 else draw.uniform(shape, -1, 1)).to(x.dtype)  # (b, count, C, H, W)
        u = u / u.flatten(2).norm(dim=2).clamp_min(balls.TINY)[:, :, None, None, None]
        length = delta[rows][:, None, None, None, None]
        trial = (x[rows][:, None] + length * u).clamp(0, 1)
        u = (trial - x[rows][:, None]) / length  # what the box left of it
        sign = asker.reached(trial, index[rows]).to(x.dtype) * 2 - 1  # (b, count)
        probed[rows] += u.sum(1)
        steered[rows] += (u * sign[:, :, None, None, None]).sum(1)
        balance[rows] += sign.sum(1)
    mean = balance / probes
    mean = torch.where(mean.abs() == 1, torch.zeros_like(mean), mean)  # all alike: nothing to weigh against
    return steered - probed * balls.each(mean, x)


def _step(x: Tensor, way: Tensor, length: Tensor, asker: Asker, index: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """x + length · way, the length halved until the goal is reached there; and the queries that it took (b,).

    Args:
        room: (b,) queries at most.
    """
    result, used = x.clone(), torch.zeros_like(index)
    left = (room > 0).nonzero().squeeze(1)
    for halving in range(HALVINGS):
        trial = (x[left] + balls.each(length[left] / 2**halving, x) * way[left]).clamp(0, 1)
        won = asker.reached(trial[:, None], index[left]).squeeze(1)
        used[left] += 1
        result[left[won]] = trial[won]
        left = left[~won & (used[left] < room[left])]
        if not len(left):
            break
    return result, used

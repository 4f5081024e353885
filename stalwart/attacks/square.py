"""Square attack: random search with square changes, by the loss alone."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Goal, Threat, Verdict
from stalwart.core.errors import InputError
from stalwart.core.losses import margin
from stalwart.core.rng import Noise

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The share of changed pixels halves after so many of 10,000 queries (section 5 of the paper)."""


@component
class square:
    """Random search: change one square, keep it where the loss rose. No gradients, so nothing can mask them.

    Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box adversarial attack via
    random search" (ECCV 2020): algorithms 1 and 2 under L∞, algorithm 3 under L2; under L1 the latter with sums in
    place of lengths, after Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks" (ICML 2021), section
    4. It begins with vertical stripes (L∞) or a pattern of soft squares, and the squares shrink as the queries are
    spent. The loss is the margin where the task gives one, which shift and scale of the logits leave alone, else the
    goal's own.
    """

    queries: Annotated[int, at_least(1)] = 5000
    """Forward passes of each image; one whose goal is reached asks no more."""
    share: Annotated[float, between(0, 1)] = 0.8
    """Share of the pixels that the first squares cover; AutoAttack's 0.8, or the paper's 0.05 under L∞."""
    course: Annotated[int, at_least(0)] = 0
    """Queries that the squares' way from large to small is laid out for; 0: as many as there are. AutoAttack spends the
    first 5,000 of a course of 10,000."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = getattr(threat, "p", None)
        ways = {1: (_peaks, _propose_l1), 2: (_tiles, _propose_l2), math.inf: (_stripes, _propose_linf)}
        if p not in ways:
            raise InputError(f"square needs an L∞, L2 or L1 threat. Got {threat!r}.")
        begin, propose = ways[p]
        result = clean.clone()
        live = torch.arange(len(clean), device=clean.device)
        origin, aim, own = clean, goal, noise.fork("square")
        best = threat.project(begin(origin, threat.epsilon, own), origin)
        score, reached = _ask(aim, best)
        for query in range(1, self.queries):
            if reached is not None and bool(reached.any()):
                result[live[reached]] = best[reached]
                keep = (~reached).nonzero().squeeze(1)
                if not len(keep):
                    return result
                live, origin, best, score = live[keep], origin[keep], best[keep], score[keep]
                aim, own, reached = aim.select(keep), own.select(keep), reached[keep]
            side = _side(self.share, query, self.course or self.queries, clean.shape, p)
            trial = threat.project(propose(best, origin, side, threat.epsilon, own), origin)
            value, done = _ask(aim, trial)
            better = value > score
            if done is not None:
                better |= done
                reached = done if reached is None else reached | done
            best = torch.where(better.view(-1, 1, 1, 1), trial, best)
            score = torch.where(better, value, score)
        result[live] = best
        return result


@torch.no_grad()
def _ask(goal: Goal, images: Tensor) -> tuple[Tensor, Tensor | None]:
    verdict: Verdict = goal(images)
    return (verdict.loss if verdict.gaps is None else margin(verdict.gaps)), verdict.reached


def _side(share: float, query: int, queries: int, shape: torch.Size, p: float) -> int:
    """The square's side in pixels at this query."""
    at = query / queries * 10_000
    cover = share / 2 ** sum(at > halving for halving in HALVINGS)
    height, width = shape[2:]
    side = round(math.sqrt(cover * height * width))
    if p == math.inf:
        return min(max(side, 1), height - 1 or 1, width - 1 or 1)
    side = max(side, 3) | 1  # odd, so that a square has a middle
    return min(side, (min(height, width) - 1) | 1 if min(height, width) % 2 == 0 else min(height, width))


def _window(side: int, height: int, width: int, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The square at `place` (B, 2) in [0, 1): a mask (B, 1, H, W) and its top left corner (B,), (B,)."""
    top = (place[:, 0] * (height - side + 1)).long().clamp(max=height - side)
    left = (place[:, 1] * (width - side + 1)).long().clamp(max=width - side)
    rows = torch.arange(height, device=place.device) - top[:, None]
    columns = torch.arange(width, device=place.device) - left[:, None]
    mask = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return mask[:, None], top, left


def _signs(noise: Noise, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """(B, *shape) of +1 and −1."""
    return (noise.uniform(shape) < 0.5).to(like.dtype) * 2 - 1


# ---------------------------------------------------------------- L∞


def _stripes(clean: Tensor, epsilon: float, noise: Noise) -> Tensor:
    return clean + epsilon * _signs(noise, (clean.shape[1], 1, clean.shape[3]), clean)


def _propose_linf(best: Tensor, clean: Tensor, side: int, epsilon: float, noise: Noise) -> Tensor:
    """One square of one colour goes to the other end of the threat (algorithm 2)."""
    _, channels, height, width = best.shape
    drawn = noise.uniform((2 + channels,))
    mask, _, _ = _window(side, height, width, drawn)
    signs = (drawn[:, 2:] < 0.5).to(best.dtype) * (4 * epsilon) - 2 * epsilon
    return best + signs[:, :, None, None] * mask


# ---------------------------------------------------------------- L2 and L1


def _bump(side: int, like: Tensor) -> Tensor:
    """(side, side) the soft square η of section 4.2: its upper half up, its lower half down, of norm 1."""
    half = side // 2
    result = torch.cat([_nested(half, side, like), -_nested(side - half, side, like)])
    return result / result.square().sum().sqrt().clamp_min(1e-12)


def _nested(height: int, width: int, like: Tensor) -> Tensor:
    """(height, width) rectangles around the middle, the k-th adding 1 / (k + 1)² to its pixels."""
    rows = (torch.arange(height, device=like.device) - height // 2).abs()
    columns = (torch.arange(width, device=like.device) - width // 2).abs()
    innermost = torch.maximum(rows[:, None], columns[None, :])  # the first rectangle that holds the pixel
    count = max(height // 2, width // 2) + 1
    weights = 1 / torch.arange(1, count + 1, device=like.device, dtype=like.dtype).square()
    tails = weights.flip(0).cumsum(0).flip(0)
    part = tails[innermost]
    return part / part.square().sum().sqrt().clamp_min(1e-12)


def _tiles(clean: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """A grid of five by five soft squares with random signs, of length ε."""
    canvas = _grid(clean, noise)
    return clean + canvas * balls.each(epsilon / balls.norm(canvas, 2).clamp_min(1e-12), canvas)


def _peaks(clean: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """The same grid, far outside of the ball: the projection leaves the peaks of the squares."""
    return clean + _grid(clean, noise) * max(epsilon, 1.0)


def _grid(clean: Tensor, noise: Noise) -> Tensor:
    """(B, C, H, W) five by five soft squares, each of norm 1, with random signs."""
    _, channels, height, width = clean.shape
    side = max(min(height, width) // 5, 1)
    bump = _bump(side, clean)
    turned = (noise.uniform((channels, 1, 1)) < 0.5).expand(-1, channels, height, width)
    upright = torch.zeros(height, width, device=clean.device, dtype=clean.dtype)
    sideways = torch.zeros_like(upright)
    cells = torch.zeros(height, width, device=clean.device, dtype=torch.int64)
    down, right = height // side, width // side
    top, left = (height - down * side) // 2, (width - right * side) // 2
    for row in range(down):
        for column in range(right):
            y, x = top + row * side, left + column * side
            upright[y : y + side, x : x + side] = bump
            sideways[y : y + side, x : x + side] = bump.T
            cells[y : y + side, x : x + side] = row * right + column
    signs = _signs(noise, (channels, down * right), clean)  # (B, C, cells)
    return torch.where(turned, sideways, upright) * signs[:, :, cells]


def _propose_l2(best: Tensor, clean: Tensor, side: int, epsilon: float, noise: Noise) -> Tensor:
    moved = _shifted(best, clean, side, epsilon, noise, 2)
    return clean + moved * balls.each(epsilon / balls.norm(moved, 2).clamp_min(1e-12), moved)


def _propose_l1(best: Tensor, clean: Tensor, side: int, epsilon: float, noise: Noise) -> Tensor:
    return clean + _shifted(best, clean, side, epsilon, noise, 1)


def _shifted(best: Tensor, clean: Tensor, side: int, epsilon: float, noise: Noise, p: int) -> Tensor:
    """(B, C, H, W) the change when one square gives up its norm to another, which turns towards a soft square
    (algorithm 3)."""
    channels, height, width = best.shape[1:]
    change = best - clean
    drawn = noise.uniform((5 + channels,))
    into, top, left = _window(side, height, width, drawn)
    out, _, _ = _window(side, height, width, drawn[:, 2:])
    length = balls.norm(change, p).view(-1, 1, 1, 1)
    inside = _length(change * into, p)  # (B, C, 1, 1)
    both = balls.norm(change * (into | out), p).view(-1, 1, 1, 1)
    bump = _bump(side, best)
    turned = drawn[:, 4].view(-1, 1, 1, 1) < 0.5
    signs = (drawn[:, 5:] < 0.5).to(best.dtype)[:, :, None, None] * 2 - 1
    rows = (torch.arange(height, device=best.device) - top[:, None]).clamp(0, side - 1)
    columns = (torch.arange(width, device=best.device) - left[:, None]).clamp(0, side - 1)
    laid = bump[rows[:, :, None], columns[:, None, :]][:, None]  # (B, 1, H, W), right within the window
    across = bump.T[rows[:, :, None], columns[:, None, :]][:, None]
    fresh = torch.where(turned, across, laid) * signs + change / (inside + 1e-12)
    fresh = fresh * into
    spare = (epsilon**p - length**p).clamp_min(0) / channels + both**p
    fresh = fresh / (_length(fresh, p) + 1e-12) * spare ** (1 / p)
    return torch.where(into, fresh, torch.where(out, torch.zeros_like(change), change))


def _length(change: Tensor, p: int) -> Tensor:
    """(B, C, 1, 1) the Lp norm of each channel."""
    return (change.abs() if p == 1 else change.square()).sum((2, 3), keepdim=True) ** (1 / p)

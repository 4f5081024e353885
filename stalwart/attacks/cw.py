"""Carlini and Wagner: the smallest change as a sum of its size and the margin, weighed by a searched c."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import Nearest, Record, ahead, draw_in, exponent, look
from stalwart.core.rng import Noise

SLACK = 1.5
"""How far past the linear model's own optimum c and τ begin."""
GROWTH = 3.0
"""What c is multiplied by where none has succeeded yet."""
FALL = 0.05
"""The last step of a search as a share of the first."""
SHRINK = 0.93
"""How far τ is lowered at a success, at the most: successes come in a step or two, failures cost them all."""


@component
class cw:
    """Minimises ‖δ‖₂² + c [κ − max_{j≠y} (z_j − z_y)]₊, and searches c for each sample. L2, L∞ and L0.

    Carlini and Wagner, "Towards evaluating the robustness of neural networks" (S&P 2017), sections V and VI, with the
    loss f₆. What is done otherwise, to be sparing:
    - c begins where the model made linear has its optimum, 2 |gap| / ‖slope‖₂², and not at one value for all logits.
    - The rival that is pushed is the nearest by |gap| / ‖slope‖, and not the one of the largest logit (but for L0).
    - The box is kept by projection (the first of the three ways of section V-B): tanh has no slope at black and white.
    - Descent is by the gradient itself, its step falling from `step`; each search goes on from the best point so far.
    - A sample leaves when a search has made its change no smaller by `patience`.
    Under L∞ the bound τ of section VI-C holds exactly and is bisected. Under L0 pixels are taken away, as in VI-B,
    those first whose change does the least, and fewer at a time after a failure.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    searches: Annotated[int, at_least(1)] = 9
    """Values of c, of τ or of the number of pixels that are tried."""
    steps: Annotated[int, at_least(1)] = 20
    """Descent steps for each."""
    step: Annotated[float, above(0)] = 0.25
    """Length of the first step, as a share of what would undo the whole change; it falls to a twentieth."""
    rivals: Annotated[int, at_least(1)] = 9
    """Nearest rival classes to choose among."""
    confidence: Annotated[float, at_least(0)] = 0.0
    """κ: how far ahead the rival's logit has to be."""
    patience: Annotated[float, at_least(0)] = 1e-3
    """A search that shortens a change by less than this share is its last."""
    looks: Annotated[int, at_least(0)] = 3
    """Forward passes for the last pull inwards."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "cw", (0, 2, math.inf))
        record = Record(clean, p, self.confidence)
        if p == math.inf:
            self._bound(record, goal)
        elif p == 2:
            self._weigh(record, goal)
        else:
            self._thin(record, goal)
        draw_in(record, goal, "cw", self.looks if p else 8)
        return record.images

    def _weigh(self, record: Record, goal: Goal) -> None:
        """L2: descent on the weighed sum, and c by bisection of its logarithm (section V)."""
        origin, aim = record.clean, goal
        live = torch.arange(len(origin), device=origin.device)
        nearest = Nearest(2, self.rivals)
        margin, gap, slope, _ = look(origin, aim, "cw", nearest)
        record.behind = margin
        c = SLACK * 2 * (self.confidence - gap).abs() / balls.norm(slope, 2).square().clamp_min(balls.TINY)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        shift = torch.zeros_like(origin)
        for search in range(self.searches):
            before, won = record.size[live], torch.zeros_like(c, dtype=torch.bool)
            for step in range(self.steps):
                if search or step:
                    margin, _, slope, _ = look(origin + shift, aim, "cw", nearest)
                    record.offer(origin + shift, margin, live)
                    won |= margin > self.confidence
                eta = self.step * FALL ** (step / max(self.steps - 1, 1))
                push = balls.each(torch.where(margin <= self.confidence, c * eta, torch.zeros_like(c)), shift)
                shift = (origin + (1 - 2 * eta) * shift + push * slope).clamp_(0, 1) - origin
            margin = ahead(origin + shift, aim, "cw")
            record.offer(origin + shift, margin, live)
            won |= margin > self.confidence
            low, high = torch.where(won, low, c), torch.where(won, c, high)
            c = torch.where(high.isinf(), c * GROWTH, (low * high).sqrt().maximum(high / GROWTH))
            gained = record.size[live] < before * (1 - self.patience)
            keep = (gained | before.isinf()).nonzero().squeeze(1)
            if not len(keep):
                break
            live, origin, c, low, high = live[keep], origin[keep], c[keep], low[keep], high[keep]
            aim = aim.select(keep)
            nearest.keep(keep)
            shift = record.images[live] - origin

    def _bound(self, record: Record, goal: Goal) -> None:
        """L∞: signed steps within τ, which each sample lowers at a success and raises when its steps are spent."""
        origin, aim = record.clean, goal
        live = torch.arange(len(origin), device=origin.device)
        x, low, high = origin, torch.zeros_like(record.size), torch.full_like(record.size, torch.inf)
        spent = torch.zeros_like(low)
        bound, nearest = low, Nearest(math.inf, self.rivals)
        for total in range(self.searches * self.steps + 1):
            margin, gap, slope, _ = look(x, aim, "cw", nearest)
            if not total:
                record.behind = margin
                # Where the linear model crosses: gap = τ ‖slope‖₁.
                bound = SLACK * (self.confidence - gap).clamp_min(0) / balls.norm(slope, 1).clamp_min(balls.TINY)
                bound = bound.clamp(1e-6, 1.0)
            record.offer(x, margin, live)
            won, failed = margin > self.confidence, spent >= self.steps
            high, low = torch.where(won, record.size[live], high), torch.where(failed & ~won, bound, low)
            low = low.minimum(high)
            middle = torch.where(won, (low * high).sqrt().maximum(high * SHRINK), (low * high).sqrt())
            middle = torch.where(high.isinf(), (low * 2).clamp(max=1.0), middle)
            bound = torch.where(won | failed, middle, bound)
            spent = torch.where(won | failed, torch.zeros_like(spent), spent)
            x = torch.where(balls.each(failed & ~won & high.isfinite(), x), record.images[live], x)
            keep = ((high > low * (1 + 5 * self.patience)) & (low < 1)).nonzero().squeeze(1)
            if len(keep) < len(live):
                if not len(keep):
                    return
                live, origin, x, slope, aim = live[keep], origin[keep], x[keep], slope[keep], aim.select(keep)
                low, high, bound, spent = low[keep], high[keep], bound[keep], spent[keep]
                nearest.keep(keep)
            length = 2 * self.step * FALL ** (spent / self.steps)  # longest, a half of τ, right after τ has changed
            moved = x - origin + balls.each(length * bound, x) * slope.sign()
            x = (origin + balls.project(moved, bound, math.inf)).clamp_(0, 1)
            spent = spent + 1

    def _thin(self, record: Record, goal: Goal) -> None:
        """L0: signed steps of the pixels still allowed; at each success the least useful of them are taken away."""
        origin, aim = record.clean, goal
        live = torch.arange(len(origin), device=origin.device)
        x = origin
        allowed = torch.ones_like(origin[:, :1], dtype=torch.bool)  # (B, 1, H, W)
        last = allowed  # those allowed at the last success
        score = torch.zeros_like(origin[:, 0]).flatten(1)  # (B, H·W) what each pixel did at the last success
        cut = torch.full_like(record.size, 0.5)  # the share to take away next
        spent = torch.zeros_like(cut)
        for total in range(self.searches * self.steps + 1):
            margin, _, slope, _ = look(x, aim, "cw")
            if not total:
                record.behind = margin
            record.offer(x, margin, live)
            won, failed = margin > self.confidence, spent >= self.steps
            useful = ((x - origin) * slope).sum(1).flatten(1)
            score = torch.where(won[:, None], useful, score)
            last = torch.where(balls.each(won, x), (x != origin).any(1, keepdim=True), last)
            failed &= ~won
            cut = torch.where(failed, cut / 2, cut)
            many = last.flatten(1).sum(1)
            count = torch.minimum((many * (1 - cut)).floor(), (many - 1).clamp_min(0).to(cut.dtype))
            rank = score.masked_fill(~last.flatten(1), -torch.inf).sort(dim=1, descending=True, stable=True)
            kept = (rank.indices.argsort(1) < count[:, None]).view_as(last)
            again = balls.each(won | failed, x)
            allowed = torch.where(again, kept, allowed)
            x = torch.where(again, torch.where(kept, record.images[live], origin), x)
            spent = torch.where(won | failed, torch.zeros_like(spent), spent)
            keep = ((cut * many >= 0.5) & (many > 1)).nonzero().squeeze(1)
            if len(keep) < len(live):
                if not len(keep):
                    return
                live, origin, x, slope, aim = live[keep], origin[keep], x[keep], slope[keep], aim.select(keep)
                allowed, last, score, cut, spent = (v[keep] for v in (allowed, last, score, cut, spent))
            x = (x + 2 * self.step * slope.sign() * allowed).clamp_(0, 1)
            spent = spent + 1

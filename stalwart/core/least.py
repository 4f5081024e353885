"""What attacks for the smallest change share: each sample's smallest success, slopes, the last pull inwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stalwart.core import balls, losses
from stalwart.core.contracts import Goal, Threat, Verdict
from stalwart.core.errors import InputError

NAMES = {0.0: "L0", 1.0: "L1", 2.0: "L2", float("inf"): "L∞"}


def exponent(threat: Threat, who: str, served: tuple[float, ...]) -> float:
    """The exponent of the threat's norm, one of those that an attack serves.

    Raises:
        InputError: a threat that is no norm ball, or of another norm.
    """
    p = getattr(threat, "p", None)
    if p not in served:
        raise InputError(f"{who} needs a threat of norm {' or '.join(NAMES[q] for q in served)}. Got {threat!r}.")
    return float(p)


class Record:
    """The smallest success of each sample of a batch.

    Args:
        p: the norm that is to be small.
        confidence: a success is ahead by more than this.
    """

    def __init__(self, clean: Tensor, p: float, confidence: float = 0.0) -> None:
        self.clean, self.p, self.confidence = clean, p, confidence
        self.images = clean.clone()
        """(B, C, H, W) the smallest success; where there was none, the image that was offered last."""
        self.size = torch.full((len(clean),), torch.inf, device=clean.device, dtype=clean.dtype)
        """(B,) its norm; inf where there was none."""
        self.gap = torch.zeros_like(self.size)
        """(B,) how far it is ahead."""
        self.behind = torch.full_like(self.size, -1.0)
        """(B,) the gap at the clean image, where the attack says it: the last pull inwards begins with it."""

    def offer(self, images: Tensor, gap: Tensor, place: Tensor) -> Tensor:
        """(b,) bool: which of these images (b, ...) of the samples at `place` (b,) are their smallest success yet."""
        size, least = balls.norm(images - self.clean[place], self.p), self.size[place]
        better: Tensor = (gap > self.confidence) & (size < least)
        write = better | least.isinf()
        self.images[place] = torch.where(balls.each(write, images), images, self.images[place])
        self.gap[place] = torch.where(better, gap, self.gap[place])
        self.size[place] = torch.where(better, size, least)
        return better

    @property
    def found(self) -> Tensor:
        """(B,) bool."""
        return self.size.isfinite()


class View(NamedTuple):
    """What one pass says of a batch of images."""

    margin: Tensor
    """(B,) the largest gap: above 0 where the goal is reached."""
    gap: Tensor
    """(B,) the nearest rival's gap."""
    slope: Tensor
    """(B, C, H, W) its slope."""
    reached: Tensor
    """(B,) bool: the goal's own word, which is the judge's where an ensemble asks."""


def look(images: Tensor, goal: Goal, who: str, nearest: Nearest | None = None) -> View:
    """One pass, forward and backward. Without `nearest` the rival is that of the largest gap."""
    if nearest is None or not nearest.several or len(images) < 2:
        return _look(images, goal, who, nearest)
    # Several backward passes of one forward keep all that it remembers to the last: so half of the images at a time.
    halves = torch.arange(len(images), device=images.device).chunk(2)
    own = [nearest.part(half) for half in halves]
    views = [_look(images[half], goal.select(half), who, part) for half, part in zip(halves, own, strict=True)]
    nearest.join(own)
    return View(*(torch.cat(values) for values in zip(*views, strict=True)))


def _look(images: Tensor, goal: Goal, who: str, nearest: Nearest | None) -> View:
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        verdict = goal(x)
        gaps = losses.gaps_of(verdict, who)
        margin = losses.margin(gaps)
        gap, slope = (margin.detach(), slope_of(margin, x)) if nearest is None else nearest(gaps, x)
    # None: the judge has not looked yet, or nothing is ever enough.
    reached = torch.zeros_like(margin, dtype=torch.bool) if verdict.reached is None else verdict.reached
    return View(margin.detach(), gap, slope, reached)


def annealed(first: float, last: float, step: int, steps: int) -> float:
    """From `first` to nearly `last` along half a cosine (Loshchilov and Hutter 2017)."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


def slope_of(value: Tensor, x: Tensor, keep: bool = False) -> Tensor:
    """∂ Σ value / ∂x (B, C, H, W); zeros where it is none or not finite. `keep` leaves the graph for another."""
    if not value.requires_grad:  # a model that detaches
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(value.sum(), x, allow_unused=True, retain_graph=keep)
    return torch.zeros_like(x) if slope is None else slope.nan_to_num(0.0, 0.0, 0.0)


@torch.no_grad()
def ahead(images: Tensor, goal: Goal, who: str) -> Tensor:
    """(B,) the largest gap: above 0 where the goal is reached. One forward pass."""
    verdict: Verdict = goal(images)
    return losses.margin(losses.gaps_of(verdict, who))


class Nearest:
    """Finds, for each sample, the rival whose boundary is nearest by |gap| / ‖slope‖_q, 1/p + 1/q = 1.

    The slopes of all rivals are taken at the first point alone, one backward pass of the whole batch for each. After
    that a rival counts with the norm that its slope had when it was last taken, and a point costs one backward pass.
    (All rivals in one vectorised backward pass took a tenth longer than one after the other on a CPU.)

    Args:
        rivals: how many of the nearest rivals at the first point to choose among.
        columns: (B, R) int64 the rivals themselves, in place of the nearest.
    """

    def __init__(self, p: float, rivals: int, columns: Tensor | None = None) -> None:
        self.q, self.rivals, self.columns = balls.dual(p), rivals, columns
        self.norms: Tensor | None = None  # (B, R)

    @property
    def several(self) -> bool:
        """Whether the next point costs a backward pass for each of several rivals."""
        return self.norms is None and (self.rivals if self.columns is None else self.columns.shape[1]) > 1

    def part(self, index: Tensor) -> Nearest:
        """The same for the samples at `index`, before the first point."""
        found = Nearest(math.inf, self.rivals, None if self.columns is None else self.columns[index])
        found.q = self.q
        return found

    def join(self, parts: Sequence[Nearest]) -> None:
        """Take up what the parts found at the first point."""
        self.columns = torch.cat([part.columns for part in parts if part.columns is not None])
        self.norms = torch.cat([part.norms for part in parts if part.norms is not None])

    def keep(self, index: Tensor) -> None:
        """Go on with the samples at `index` alone."""
        assert self.columns is not None
        self.columns = self.columns[index]
        self.norms = None if self.norms is None else self.norms[index]

    def __call__(self, gaps: Tensor, x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The nearest rival's gap (b,) and slope (b, C, H, W).

        Args:
            gaps: (b, K), still hanging on `x`.
            rows: (b,) the samples of `x` (B, C, H, W) that the gaps are of; None: all.
        """
        if self.columns is None:
            self.columns = losses.rivals(gaps, self.rivals)
        own = gaps.gather(1, self.columns)  # (B, R)
        distance = own.detach().abs()
        if self.norms is not None:
            pick = (distance / self.norms).argmin(1, keepdim=True)
            slope = self._slope(own.gather(1, pick), x, rows, False)
            self.norms.scatter_(1, pick, self._norm(slope)[:, None])
            return own.detach().gather(1, pick).squeeze(1), slope
        count = self.columns.shape[1]
        norms = torch.empty_like(distance)
        least, gap = torch.full_like(distance[:, 0], torch.inf), distance[:, 0]
        for rank in range(count):
            other = self._slope(own[:, rank], x, rows, rank + 1 < count)
            norms[:, rank] = self._norm(other)
            far = distance[:, rank] / norms[:, rank]
            nearer = far < least
            least, gap = torch.where(nearer, far, least), torch.where(nearer, own[:, rank].detach(), gap)
            slope = torch.where(balls.each(nearer, x), other, slope) if rank else other
        self.norms = norms
        return gap, slope

    def _slope(self, value: Tensor, x: Tensor, rows: Tensor | None, keep: bool) -> Tensor:
        slope = slope_of(value, x, keep)
        return slope if rows is None else slope[rows]

    def _norm(self, slope: Tensor) -> Tensor:
        return balls.norm(slope, self.q).clamp_min(balls.TINY)


def draw_in(record: Record, goal: Goal, who: str, looks: int) -> None:
    """Pull each success towards its clean image as far as it stays one, by at most `looks` forward passes.

    The boundary is looked for on the line between the two by false position after Illinois (Dowell and Jarratt 1971):
    two or three looks come within a percent. Under L0 a line does not help, and pixels are given back instead, those
    of the smallest change first, by bisection of their number.
    """
    place = record.found.nonzero().squeeze(1)
    if not len(place) or looks < 1:
        return
    aim = goal if len(place) == len(record.clean) else goal.select(place)
    if record.p == 0:
        _give_back(record, aim, who, looks, place)
        return
    clean = record.clean[place]
    shift = record.images[place] - clean
    # `low` is the share of the change that fails, `high` the one that succeeds; `under` and `over` the gaps there.
    under, over = record.behind[place] - record.confidence, record.gap[place] - record.confidence
    low, high = torch.zeros_like(over), torch.ones_like(over)
    last = torch.zeros_like(over)
    for _ in range(looks):
        root = high - over * (high - low) / (over - under).clamp_min(balls.TINY)
        # A little outside the root, as successes alone count, and not more than nine tenths of the way in.
        share = torch.maximum(root + 0.05 * (high - root) + 2e-3 * high, low + 0.1 * (high - low))
        share = torch.minimum(share, high)
        trial = clean + shift * balls.each(share, shift)
        gap = ahead(trial, aim, who) - record.confidence
        won = gap > 0
        record.offer(trial, gap + record.confidence, place)
        # Illinois: an end that stayed twice running counts half, so that the other moves too.
        under = torch.where(won, torch.where(last > 0, under / 2, under), gap)
        over = torch.where(won, gap, torch.where(last < 0, over / 2, over))
        high, low = torch.where(won, share, high), torch.where(won, low, share)
        last = won.to(low.dtype) * 2 - 1


def _give_back(record: Record, goal: Goal, who: str, looks: int, place: Tensor) -> None:
    clean = record.clean[place]
    shift = record.images[place] - clean
    weight = shift.square().sum(1).flatten(1)  # (B, H·W)
    rank = weight.sort(dim=1, descending=True, stable=True).indices.argsort(1)
    high = record.size[place].clone()
    low = torch.zeros_like(high)
    for _ in range(looks):
        count = ((low + high) / 2).floor()
        kept = (rank < count[:, None]).view(len(place), 1, *shift.shape[2:])
        trial = clean + shift * kept
        gap = ahead(trial, goal, who)
        won = gap > record.confidence
        record.offer(trial, gap, place)
        high, low = torch.where(won, count, high), torch.where(won, low, count)

"""What all attacks for the smallest change share: the record of the smallest success, slopes, the last pull inwards."""

from __future__ import annotations

import torch
from torch import Tensor

from stalwart.core import balls, losses
from stalwart.core.contracts import Goal, Threat, Verdict
from stalwart.core.errors import InputError


def exponent(threat: Threat, who: str, served: tuple[float, ...]) -> float:
    """The threat's norm, among those that an attack serves.

    Raises:
        InputError: a threat that is no norm ball, or another norm.
    """
    p = getattr(threat, "p", None)
    if p not in served:
        names = {0.0: "L0", 1.0: "L1", 2.0: "L2", float("inf"): "L∞"}
        raise InputError(f"{who} needs a threat with a norm among {', '.join(names[q] for q in served)}. Got {threat!r}.")
    return float(p)


class Record:
    """The smallest success of each sample of a batch."""

    def __init__(self, clean: Tensor, p: float) -> None:
        self.clean, self.p = clean, p
        self.images = clean.clone()
        """(B, C, H, W) the success, or the last image on offer where there was none."""
        self.size = torch.full((len(clean),), torch.inf, device=clean.device, dtype=clean.dtype)
        """(B,) its norm; inf where there was none."""

    def offer(self, images: Tensor, won: Tensor, place: Tensor) -> Tensor:
        """(b,) bool: which of these images (b, ...) of the samples at `place` (b,) are the smallest successes so far."""
        size = balls.norm(images - self.clean[place], self.p)
        best = self.size[place]
        better: Tensor = won & (size < best)
        self.images[place] = torch.where(balls.each(better | best.isinf(), images), images, self.images[place])
        self.size[place] = torch.where(better, size, best)
        return better

    @property
    def found(self) -> Tensor:
        """(B,) bool."""
        return self.size.isfinite()


def steepest_gap(images: Tensor, goal: Goal, who: str, rival: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The gap (B,) to the rival that is furthest ahead, or to `rival` (B,), and its slope (B, C, H, W). One pass each."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        gaps = losses.gaps_of(goal(x), who)
        value = losses.margin(gaps) if rival is None else losses.toward(gaps, rival)
        return value.detach(), slope_of(value, x)


def slope_of(value: Tensor, x: Tensor, keep: bool = False) -> Tensor:
    """∂ Σ value / ∂x; zeros where there is none, and for what is not finite. `keep` leaves the graph for another."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(value.sum(), x, allow_unused=True, retain_graph=keep)
    return torch.zeros_like(x) if slope is None else slope.nan_to_num(0.0, 0.0, 0.0)


@torch.inference_mode()
def ahead(images: Tensor, goal: Goal, who: str) -> Tensor:
    """(B,) the largest gap: above 0 where the goal is reached. A forward pass without a graph."""
    verdict: Verdict = goal(images)
    return losses.margin(losses.gaps_of(verdict, who))


def draw_in(record: Record, goal: Goal, who: str, looks: int, confidence: float = 0.0) -> None:
    """Pull each success towards its clean image as far as it stays one, within `looks` forward passes.

    The boundary is looked for on the line between the two by false position after Illinois (Dowell and Jarratt 1971):
    the gap at both ends is known but for rounding, so that two or three looks come within a percent. Under L0 a line
    does not help, and pixels are given back instead, those of the smallest change first, by bisection of their number.
    """
    if record.p == 0:
        _give_back(record, goal, who, looks, confidence)
        return
    place = record.found.nonzero().squeeze(1)
    if not len(place) or looks < 1:
        return
    # `low` is a share of the change that fails, `high` one that succeeds; `under` and `over` are the gaps there.
    clean, shift = record.clean[place], record.images[place] - record.clean[place]
    aim = goal.select(place)
    low, high = torch.zeros_like(record.size[place]), torch.ones_like(record.size[place])
    under, over = (ahead(clean + shift * at, aim, who) - confidence for at in (0.0, 1.0))
    last = torch.zeros_like(low)
    for _ in range(looks):
        share = high - over * (high - low) / (over - under).clamp_min(balls.TINY)
        # A little outside the root itself, so that the look is likely to be a success: only those count.
        share = torch.minimum(share + 0.002 * high + 0.05 * (high - share).clamp_min(0), (low + 3 * high) / 4)
        share = torch.maximum(share, (3 * low + high) / 4).clamp(0, 1)
        trial = clean + shift * balls.each(share, shift)
        gap = ahead(trial, aim, who) - confidence
        won = gap > 0
        record.offer(trial, won, place)
        # Illinois: an end that stayed twice running counts half, so that the other end moves too.
        under = torch.where(won, torch.where(last > 0, under / 2, under), gap)
        over = torch.where(won, gap, torch.where(last < 0, over / 2, over))
        high, low = torch.where(won, share, high), torch.where(won, low, share)
        last = won.to(low.dtype) * 2 - 1


def _give_back(record: Record, goal: Goal, who: str, looks: int, confidence: float) -> None:
    place = record.found.nonzero().squeeze(1)
    if not len(place):
        return
    clean, images = record.clean[place], record.images[place]
    aim = goal.select(place)
    shift = images - clean
    weight = shift.square().sum(1).flatten(1)  # (B, H·W)
    rank = weight.sort(1, descending=True, stable=True).indices.argsort(1)
    low, high = torch.zeros_like(record.size[place]), record.size[place].clone()
    for _ in range(looks):
        count = ((low + high) / 2).floor()
        kept = (rank < count[:, None]).view(len(place), 1, *images.shape[2:])
        trial = clean + shift * kept
        won = ahead(trial, aim, who) > confidence
        record.offer(trial, won, place)
        high, low = torch.where(won, count, high), torch.where(won, low, count)

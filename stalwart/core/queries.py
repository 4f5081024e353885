"""Asking a model without gradients: quiet queries, passes of bounded size, beginnings, the way back to the boundary.

Attacks by decisions (`reached` alone) and by scores (`loss`, `gaps`) share these. Nothing here takes a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stalwart.core import balls, losses
from stalwart.core.contracts import Goal, Verdict
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

FEWEST = 64
"""Images that fit into one pass whatever the batch."""
GROUP = 16
"""Versions of an image that are drawn at a time; a fixed number, so that no draw depends on the batch."""
HAIR = 1e-4
"""How much longer than the boundary asks, as a share, the change of an answer is made."""


def quiet(goal: Goal) -> Goal:
    """The same goal, whose `reached` is the model's own word on the image as it is, and which judges nothing.

    For queries that are no candidates: points of an estimate, looks at a surrogate.
    """
    way = getattr(goal, "unjudged", None)
    found: Goal = goal if way is None else way()
    return found


class Asker:
    """Sends several versions of each image through the model, without gradients, in passes of bounded size.

    A pass without gradients keeps no activations, so four times the batch that the runner allowed are taken to fit.

    Args:
        goal: of the whole batch.
        batch: how many samples that is.
        who: the attack's name, for messages.
    """

    def __init__(self, goal: Goal, batch: int, who: str) -> None:
        self.goal, self.most, self.who = quiet(goal), max(4 * batch, FEWEST), who

    def reached(self, images: Tensor, index: Tensor) -> Tensor:
        """(b, K) bool for K versions (b, K, C, H, W) of the samples at `index` (b,)."""
        said = torch.zeros(images.shape[:2], dtype=torch.bool, device=images.device)
        for part, verdict in self._verdicts(images, index):
            if verdict.reached is None:
                raise InputError(f"{self.who} needs a goal that says what is reached; in training it cannot be used.")
            said.view(-1)[part] = verdict.reached
        return said

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """(b, K) the margin where the task gives gaps, which no shift of the logits changes, else the goal's loss."""
        said = torch.zeros(images.shape[:2], device=images.device)
        for part, verdict in self._verdicts(images, index):
            said.view(-1)[part] = score_of(verdict).to(said.dtype)
        return said

    @torch.no_grad()
    def _verdicts(self, images: Tensor, index: Tensor) -> Iterator[tuple[slice, Verdict]]:
        flat, place = images.flatten(0, 1), index.repeat_interleave(images.shape[1])
        for first in range(0, len(flat), self.most):
            part = slice(first, first + self.most)
            yield part, self.goal.select(place[part])(flat[part])

    def groups(self, rows: int, versions: int) -> Iterator[tuple[int, int, Tensor]]:
        """Cuts `versions` of each of `rows` images into parts that fit one pass: group, versions in it, rows (b,)."""
        for group in range(-(-versions // GROUP)):
            count = min(GROUP, versions - group * GROUP)
            for part in torch.split(torch.arange(rows), max(self.most // count, 1)):
                yield group, count, part


def score_of(verdict: Verdict) -> Tensor:
    """(B,) what an attack by scores raises."""
    return verdict.loss if verdict.gaps is None else losses.margin(verdict.gaps)


def begin(clean: Tensor, asker: Asker, noise: Noise, tries: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each sample a random image that reaches the goal: (B, C, H, W), where there is one (B,), queries (B,).

    One image of uniform noise first; then, by tens, noise, coarse squares of one colour each, and blends of the clean
    image and noise: most models give all noise one class, and the samples of that class need something else.
    """
    images = clean.clone()
    found = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
    spent = torch.zeros(len(clean), dtype=torch.int64, device=clean.device)
    done = 0
    while done < tries:
        left = (~found).nonzero().squeeze(1)
        if not len(left):
            break
        count = 1 if not done else min(10, tries - done)
        for part in torch.split(left, max(asker.most // count, 1)):
            drawn = _strange(clean[part], noise.fork("begin", done).select(part), count)
            won = asker.reached(drawn, part)  # (b, count)
            first = won.to(torch.int8).argmax(1)
            chosen = drawn[torch.arange(len(part), device=clean.device), first]
            images[part] = torch.where(balls.each(won.any(1), clean), chosen, images[part])
            found[part] = won.any(1)
            spent[part] += count
        done += count
    return images, found, spent


def _strange(clean: Tensor, noise: Noise, count: int) -> Tensor:
    """(B, count, C, H, W) random images: noise, coarse squares, a blend, noise, ..."""
    channels, height, width = clean.shape[1:]
    fine = noise.uniform((count, channels, height, width)).to(clean.dtype)
    coarse = noise.uniform((count, channels, 4, 4)).to(clean.dtype)
    rows = torch.arange(height, device=clean.device) * 4 // height
    columns = torch.arange(width, device=clean.device) * 4 // width
    kinds = (fine, coarse[..., rows, :][..., columns], (fine + clean[:, None]) / 2)
    return torch.stack([kinds[i % len(kinds)][:, i] for i in range(count)], 1)


def toward(images: Tensor, clean: Tensor, share: Tensor, p: float) -> Tensor:
    """Images whose change is cut to `share` (B,) of its size: along the line under L2, by clipping under L∞."""
    shift = images - clean
    if p == 2:
        return clean + shift * balls.each(share, shift)
    return clean + balls.project(shift, share * balls.norm(shift, p), p)


def pull(images: Tensor, clean: Tensor, asker: Asker, index: Tensor, p: float, looks: int) -> Tensor:
    """Images that reach the goal drawn back to where it begins, by `looks` queries of bisection each."""
    low, high = torch.zeros_like(images[:, 0, 0, 0]), torch.ones_like(images[:, 0, 0, 0])
    for _ in range(looks):
        share = (low + high) / 2
        won = asker.reached(toward(images, clean, share, p)[:, None], index).squeeze(1)
        high, low = torch.where(won, share, high), torch.where(won, low, share)
    # A whole change is kept as it is: made anew from its parts it may differ by a last bit, and fail.
    return torch.where(balls.each(high < 1, images), toward(images, clean, high, p), images)


def firm(images: Tensor, clean: Tensor, asker: Asker, index: Tensor) -> Tensor:
    """Images whose change is a hair longer, where the goal is reached there too, by one query each.

    A bisection ends on the boundary to float32's last bits, and what a pass says of such an image may be another thing
    in a batch of another size.
    """
    longer = (clean + (images - clean) * (1 + HAIR)).clamp(0, 1)
    return torch.where(balls.each(asker.reached(longer[:, None], index).squeeze(1), images), longer, images)

"""Asking a model without gradients: many queries for each image in passes of bounded size, and quiet ones."""

from __future__ import annotations

import torch
from torch import Tensor

from stalwart.core.contracts import Goal

FEWEST = 64
"""Images that fit into one pass whatever the batch."""


def quiet(goal: Goal) -> Goal:
    """The same goal, whose `reached` is the model's own word on the image as it is, and which judges nothing.

    For queries that are no candidates: points of an estimate, looks at a surrogate.
    """
    way = getattr(goal, "unjudged", None)
    found: Goal = goal if way is None else way()
    return found


class Asker:
    """Sends several versions of each image of a batch through the model, no gradients, in passes of bounded size.

    A pass without gradients keeps no activations, so four times the batch that the runner was allowed fits.

    Args:
        goal: of the whole batch.
        batch: the batch's size as the runner made it.
    """

    def __init__(self, goal: Goal, batch: int) -> None:
        self.goal, self.most = quiet(goal), max(4 * batch, FEWEST)

    @torch.no_grad()
    def reached(self, images: Tensor, index: Tensor) -> Tensor:
        """(b, K) bool for K versions (b, K, C, H, W) of the samples at `index` (b,)."""
        b, k = images.shape[:2]
        flat, place = images.flatten(0, 1), index.repeat_interleave(k)
        parts = []
        for first in range(0, len(flat), self.most):
            said = self.goal.select(place[first : first + self.most])(flat[first : first + self.most]).reached
            assert said is not None, "an attack by decisions needs a goal that says what is reached"
            parts.append(said)
        return torch.cat(parts).view(b, k)

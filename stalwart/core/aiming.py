"""Goals of one who wants certain objects to be seen, whichever task finds objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core.contracts import Verdict
from stalwart.core.errors import InputError
from stalwart.core.finding import OVERLAP, ObjectGoal, finder_of
from stalwart.core.objects import NONE, ObjectBatch, iou

TARGETED: tuple[Literal["fabricate", "mislabel"], ...] = ("fabricate", "mislabel")
"""The kinds of such goals."""
ENOUGH = 0.7
"""The IoU with a wanted box from which on no more effort goes to it."""


def check(task: str, targets: ObjectBatch, kind: str, wanted: Any) -> None:
    """
    Raises:
        InputError: a kind that is not for wanted objects, or objects of another number of images.
    """
    if kind not in TARGETED:
        raise InputError(f"{task}: wanted objects are for the goals {' and '.join(TARGETED)}. Got {kind!r}.")
    if not isinstance(wanted, ObjectBatch) or len(wanted) != len(targets):
        came = f"{len(wanted)} images'" if isinstance(wanted, ObjectBatch) else type(wanted).__name__
        raise InputError(f"wanted must be the objects of {len(targets)} images, collated. Got {came}.")


def toward(targets: ObjectBatch, label: int) -> tuple[ObjectBatch, Tensor]:
    """The objects of other classes as objects of class `label`, each in its place, crowds left out; and (B,) bool:
    which images have any."""
    others = targets.there & (targets.labels != label)
    wanted = replace(targets, labels=torch.where(others, label, NONE), masks=None, semantic=None)
    return wanted, others.any(1)


class Aimed(ObjectGoal):
    """Verdicts on what is to be seen, from one forward pass."""

    def __call__(self, images: Tensor) -> Verdict:
        assert self.wanted is not None
        boxes, logits = finder_of(self.model).candidates(self.model(images))  # (B, A, 4), (B, A, K)
        there = self.wanted.there  # (B, M)
        if not there.shape[1]:
            return Verdict(
                logits.flatten(1).sum(1) * 0, torch.zeros(len(logits), dtype=torch.bool, device=boxes.device)
            )
        over = iou(boxes, self.wanted.boxes)  # (B, A, M)
        own = of_classes(logits, self.wanted.labels)  # (B, A, M)
        # A score is easier to raise than a box to move: the one that lies best is climbed by, of several the surest.
        best = (over.detach().clamp_max(ENOUGH) + 0.1 * own.detach().sigmoid()).argmax(1, keepdim=True)
        near = (F.logsigmoid(own) + over.clamp(0.01, ENOUGH).log()).gather(1, best).squeeze(1)  # (B, M)
        loss = (near * there).sum(1) / there.sum(1).clamp_min(1)
        with torch.no_grad():
            seen = ((over >= OVERLAP) & (own.sigmoid() >= self.threshold)).any(1)
            reached = (seen | ~there).all(1) & there.any(1)
        if self.kind == "fabricate" or not self.targets.there.shape[1]:
            return Verdict(loss, reached)
        another = self.targets.labels[:, :, None] != self.wanted.labels[:, None]
        same_place = iou(self.targets.boxes, self.wanted.boxes) >= OVERLAP  # (B, N, M)
        turned = (same_place & another & there[:, None]).any(2) & self.targets.there  # (B, N)
        true = of_classes(logits, self.targets.labels)  # (B, A, N)
        on = (iou(boxes.detach(), self.targets.boxes) >= OVERLAP) & turned[:, None]
        # Candidates that nobody sees do not matter: each counts with the score that it has.
        weight = true.detach().sigmoid() * on
        gone = (F.logsigmoid(-true) * weight).sum(1) / weight.sum(1).clamp_min(1e-6)  # (B, N)
        loss = loss + gone.sum(1) / turned.sum(1).clamp_min(1)
        found = (on & (true.detach().sigmoid() >= self.threshold)).flatten(1).any(1)
        return Verdict(loss, reached & ~found)


def of_classes(values: Tensor, labels: Tensor) -> Tensor:
    """(B, A, N) the candidates' values (B, A, K) of the classes (B, N)."""
    return values.gather(2, labels.clamp_min(0)[:, None].expand(-1, values.shape[1], -1))

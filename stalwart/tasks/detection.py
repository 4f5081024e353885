"""Object detection: boxes with classes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import aiming
from stalwart.core.aiming import Aimed, of_classes
from stalwart.core.coco import CocoMetric
from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import Drawing, Goal, Info, Metric, Objects, Verdict
from stalwart.core.errors import InputError, nearest
from stalwart.core.finding import (
    OVERLAP,
    Detections,
    ObjectGoal,
    described,
    divergence,
    drawing_of,
    finder_of,
    restored,
    surest,
)
from stalwart.core.objects import ObjectBatch, compose, iou, move, stack

Kind = Literal["untargeted", "vanish", "fabricate", "mislabel"]
KINDS: tuple[Kind, ...] = ("untargeted", "vanish", "fabricate", "mislabel")


@component
class detection:
    """Boxes with classes and scores. Targets are the objects of each image, predictions lists of `Detections`.

    The model is any module that has a `Finder` within; `dense()` has.
    """

    threshold: Annotated[float, Range(0, 1)] = 0.3
    """The score from which on something counts as found, for goals and pictures; the metric takes all."""
    floor: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """An untargeted attack has reached its goal where less than this share of an image's objects is found still."""
    most: Annotated[int, at_least(1)] = 100
    """Detections of an image at most."""

    score: ClassVar[str] = "ap50"
    """The figure that says which model is best."""

    def collate(self, targets: Sequence[Objects]) -> ObjectBatch:
        return stack([Objects(one.boxes, one.labels, None, one.crowd) for one in targets])

    def loss(self, model: nn.Module, images: Tensor, targets: ObjectBatch, *, smoothing: float = 0.0) -> Tensor:
        """(B,) the model's own loss, deterministic and image by image. `smoothing` has no meaning here.

        Raises:
            InputError: `smoothing` is not 0.
        """
        if smoothing:
            raise InputError(f"detection has no label smoothing. Got smoothing={smoothing:g}.")
        return finder_of(model).losses(model(images), targets)

    def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
        """(B,) of all candidates, `core/finding.py`."""
        finder = finder_of(model)
        return divergence(finder.candidates(model(images)), finder.candidates(model(others)))

    @torch.no_grad()
    def predict(self, model: nn.Module, images: Tensor) -> list[Detections]:
        finder = finder_of(model)
        found = surest(finder, model(images), images, self.most)
        return [one for _, one in found]

    def goal(self, model: nn.Module, targets: ObjectBatch, kind: str = "", wanted: ObjectBatch | None = None) -> Goal:
        """What is done to each image's own objects or, with `wanted`, what is to be seen in it.

        kind        loss to be raised                                   reached
        untargeted  the training loss (the usual one)                   fewer than `floor` of the objects are found;
                                                                        without objects: one is seen
        vanish      −log p of the candidates on objects, turned round   no object is found
        fabricate   log p of the 16 surest candidates off all objects   more of them are seen than there are objects
        mislabel    how far another class is ahead on the candidates    no object is found, and in the place of one
                    on objects                                          another class is seen

        After the objectness and mislabelling attacks of Chow et al., "Adversarial objectness gradient attacks in
        real-time object detection systems" (TPS 2020), in terms of candidates, so that any detector has them.

        With `wanted`, objects as the targets are:
        fabricate   log p of each wanted class and log IoU with     each wanted object is seen: its class, on its box
                    its box, of the candidate that lies best
        mislabel    the same, and log(1 − p) of the true class of   the same, and no true object of another class in
        (the usual  candidates on objects in whose place another    the place of a wanted one is found any more
        one)        is wanted

        Where an image has no wanted object, nothing can be reached.

        Raises:
            InputError: an unknown kind, or one that is not for `wanted`; `wanted` for another number of images.
        """
        kind = kind or ("untargeted" if wanted is None else "mislabel")
        if kind not in KINDS:
            raise InputError(f"detection has no goal {kind!r}. {nearest(kind, KINDS)}")
        if wanted is None:
            return _Goal(model, targets, kind, self.threshold, self.floor)
        aiming.check("detection", targets, kind, wanted)
        return Aimed(model, targets, kind, self.threshold, self.floor, wanted)

    def toward(self, targets: ObjectBatch, label: int) -> tuple[ObjectBatch, Tensor]:
        """Every object as one of that class, in its place; images without objects of another are not counted."""
        return aiming.toward(targets, label)

    def metric(self, info: Info) -> Metric:
        return CocoMetric(info.classes, threshold=self.threshold)

    def move(self, targets: ObjectBatch, placement: Tensor, size: tuple[int, int]) -> ObjectBatch:
        return move(targets, placement, size)

    def place(self, target: Objects, placement: Tensor, size: tuple[int, int]) -> Objects:
        return move(self.collate([target]), placement[None], size).of(0)  # without masks: they are not looked at

    def compose(self, targets: ObjectBatch, windows: Tensor) -> ObjectBatch:
        return compose(targets, windows)

    def restore(
        self, prediction: Sequence[Detections], index: int, placement: Tensor, size: tuple[int, int]
    ) -> list[Detections]:
        """Detections with at least the threshold's score."""
        return [restored(prediction[index], placement, size, self.threshold)]

    def describe(self, prediction: Sequence[Detections], index: int, info: Info) -> dict[str, Any]:
        """What is found with at least the threshold's score, and where."""
        return described(prediction[index], info, self.threshold)

    def outline(self, prediction: Sequence[Detections], index: int, info: Info) -> dict[str, Any]:
        """As `describe`: boxes are in it."""
        return self.describe(prediction, index, info)

    def describe_target(self, targets: ObjectBatch, index: int, info: Info) -> dict[str, Any]:
        return described(targets.of(index), info)

    def draw(self, prediction: Sequence[Detections], index: int) -> Drawing:
        """What is found with at least the threshold's score."""
        return drawing_of(prediction[index], self.threshold)

    def draw_target(self, targets: ObjectBatch, index: int) -> Drawing:
        return drawing_of(targets.of(index))


class _Goal(ObjectGoal):
    """Verdicts from one forward pass."""

    def __call__(self, images: Tensor) -> Verdict:
        finder, outputs = finder_of(self.model), self.model(images)
        boxes, logits = finder.candidates(outputs)  # (B, A, 4), (B, A, K)
        there = self.targets.there
        over = iou(boxes.detach(), self.targets.boxes) * there[:, None]  # (B, A, N)
        with torch.no_grad():
            reached, harm = self._seen(boxes, logits, over, there)
        if self.kind == "untargeted":
            loss = finder.losses(outputs, self.targets)
            return Verdict(loss, reached, harm=loss.detach())  # average precision asks for more than what is found
        if self.kind == "vanish":
            on = over.amax(2, keepdim=True) >= 0.3 if there.shape[1] else torch.zeros_like(logits[..., :1]).bool()
            value = (F.softplus(logits) * on).flatten(1).sum(1)
            return Verdict(-value / on.flatten(1).sum(1).clamp_min(1), reached, harm=harm)
        if self.kind == "fabricate":
            best = F.logsigmoid(logits.amax(2))  # (B, A)
            off = over.amax(2) < 0.3 if there.shape[1] else torch.ones_like(best, dtype=torch.bool)
            surest = best.masked_fill(~off, -torch.inf).topk(min(16, best.shape[1]), 1).values
            some = surest.isfinite()
            return Verdict(surest.where(some, 0.0).sum(1) / some.sum(1).clamp_min(1), reached, harm=harm)
        return Verdict(self._mislabelled(logits, over), reached, harm=harm)

    def _mislabelled(self, logits: Tensor, over: Tensor) -> Tensor:
        """(B,) the mean over candidates on objects of how far the best other class is ahead of the object's."""
        if not over.shape[2]:
            return logits.flatten(1).sum(1) * 0
        most, owner = over.max(2)  # (B, A)
        label = self.targets.labels.clamp_min(0).gather(1, owner)
        own = logits.gather(2, label[..., None]).squeeze(2)
        others = logits.scatter(2, label[..., None], -torch.inf)
        best = others.amax(2) if logits.shape[2] > 1 else -own
        # Candidates that nobody sees do not matter: each counts with the surest score that it has.
        weight = (most >= OVERLAP) * torch.maximum(own, best).sigmoid().detach()
        return ((best - own).clamp(-20, 20) * weight).sum(1) / weight.sum(1).clamp_min(1e-6)

    def _seen(self, boxes: Tensor, logits: Tensor, over: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """By the candidates at or above the threshold: (B,) bool whether the goal is reached, and (B,) the harm, which
        is the share of the objects that are lost or, for `mislabel`, seen as another class alone, and for `fabricate`
        how many candidates are seen in vain."""
        sure = logits.sigmoid() >= self.threshold  # (B, A, K)
        count = there.sum(1)
        empty = count == 0
        if not there.shape[1]:
            off = sure.any(2).sum(1)
            more = off > 0 if self.kind in ("untargeted", "fabricate") else torch.zeros_like(empty)
            return more, off.float()
        on = over >= OVERLAP  # (B, A, N)
        right = of_classes(sure, self.targets.labels)  # (B, A, N): sure of the object's class
        any_class = sure.any(2, keepdim=True)
        found = (on & right).any(1) & there  # (B, N)
        false = (on & any_class & ~right).any(1) & there
        off = (any_class.squeeze(2) & ~(over >= 0.3).any(2)).sum(1)
        if self.kind == "fabricate":
            return off > count, off.float()
        if self.kind == "mislabel":
            return ~found.any(1) & ~empty & false.any(1), (false & ~found).sum(1) / count.clamp_min(1)
        share = found.sum(1) / count.clamp_min(1)
        if self.kind == "vanish":
            return ~found.any(1) & ~empty, 1 - share
        return torch.where(empty, off > 0, share < self.floor), 1 - share

"""Instance segmentation: objects with classes, scores and a mask each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import aiming
from stalwart.core.aiming import TARGETED, Aimed
from stalwart.core.coco import CocoMetric, encoded
from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import Drawing, Goal, Info, Metric, Objects, Verdict
from stalwart.core.errors import InputError, nearest
from stalwart.core.finding import (
    AT_ONCE,
    OVERLAP,
    Detections,
    Masker,
    ObjectGoal,
    binary_divergence,
    described,
    divergence,
    drawing_of,
    masker_of,
    restored,
    surest_masks,
)
from stalwart.core.objects import ObjectBatch, compose, iou, masks_of, move, stack, stack_masked

Kind = Literal["untargeted", "shrink", "merge", "vanish"]
KINDS: tuple[Kind, ...] = ("untargeted", "shrink", "merge", "vanish")
ON = 0.3
"""The IoU of boxes from which on a candidate is on an object."""
LOST = 3.0
"""−log p from which on a pixel is lost for good, and no more effort goes to it."""


@component
class instance:
    """Objects with classes, scores and masks. Targets are the objects of each image with their masks, predictions
    lists of `Detections` with masks.

    The model is any module that has a `Masker` within; `dense()` and `maskrcnn_resnet50_fpn()` have.
    """

    threshold: Annotated[float, Range(0, 1)] = 0.3
    """The score from which on something counts as found, for goals and pictures; the metric takes all."""
    floor: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """An untargeted attack has reached its goal where less than this share of an image's objects is found still."""
    most: Annotated[int, at_least(1)] = 100
    """Detections of an image at most."""

    score: ClassVar[str] = "ap50"
    """The figure that says which model is best: of masks."""

    def collate(self, targets: Sequence[Objects]) -> ObjectBatch:
        """
        Raises:
            InputError: objects without masks.
        """
        return stack_masked("instance", targets)

    def loss(self, model: nn.Module, images: Tensor, targets: ObjectBatch, *, smoothing: float = 0.0) -> Tensor:
        """(B,) the model's own loss, deterministic and image by image. `smoothing` has no meaning here.

        Raises:
            InputError: `smoothing` is not 0; masks of another size than the images'.
        """
        if smoothing:
            raise InputError(f"instance has no label smoothing. Got smoothing={smoothing:g}.")
        masks_of(targets, images)
        return masker_of(model).losses(model(images), targets)

    def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
        """(B,) of all candidates, `core/finding.py`; and of the surest candidates' masks, the mean over the pixels of
        the KL of yes and no, as surely as there is something."""
        masker, size = masker_of(model), (images.shape[2], images.shape[3])
        before, after = model(images), model(others)
        known, found = masker.candidates(before), masker.candidates(after)
        sure, index = known[1].sigmoid().amax(2).topk(min(AT_ONCE, known[1].shape[1]), 1)  # (B, 8)
        drawn = binary_divergence(masker.masks(before, index, size), masker.masks(after, index, size))
        return divergence(known, found) + (sure * drawn.mean((2, 3))).sum(1)

    @torch.no_grad()
    def predict(self, model: nn.Module, images: Tensor) -> list[Detections]:
        return surest_masks(masker_of(model), model(images), images, self.most)

    def goal(self, model: nn.Module, targets: ObjectBatch, kind: str = "", wanted: ObjectBatch | None = None) -> Goal:
        """What is done to each image's own objects or, with `wanted`, what is to be seen in it.

        Each object is judged by the surest candidate of its class whose box is on it. It is found where that one has
        the threshold's score, and its mask an IoU of a half with the object's.

        kind        loss to be raised                                      reached
        untargeted  the training loss (the usual one)                      fewer than `floor` of the objects are found;
                                                                           without objects: one is seen
        shrink      −log p of an object's own pixels in its mask, those    no mask covers half of its object
                    that are lost already left out
        merge       log p, in an object's mask, of the nearest other       a mask covers half of another object
                    object's pixels
        vanish      −log p of the candidates on objects, turned round      no object is found

        Of an image without objects, or for `merge` with one alone, only `untargeted` can be reached.

        With `wanted`, objects as the targets are, the goals are detection's, `fabricate` and `mislabel` (the usual
        one): a class and a box, whatever the mask within it.

        Raises:
            InputError: an unknown kind, or one that is not for `wanted`; `wanted` for another number of images.
        """
        kind = kind or ("untargeted" if wanted is None else "mislabel")
        if kind not in (known := KINDS if wanted is None else (*KINDS, *TARGETED)):
            raise InputError(f"instance has no goal {kind!r}. {nearest(kind, known)}")
        if wanted is not None:
            aiming.check("instance", targets, kind, wanted)
            return Aimed(model, targets, kind, self.threshold, self.floor, wanted)
        return _Goal(model, targets, kind, self.threshold, self.floor)

    def toward(self, targets: ObjectBatch, label: int) -> tuple[ObjectBatch, Tensor]:
        """Every object as one of that class, in its place; images without objects of another are not counted."""
        return aiming.toward(targets, label)

    def metric(self, info: Info) -> Metric:
        return CocoMetric(info.classes, masks=True, threshold=self.threshold)

    def move(self, targets: ObjectBatch, placement: Tensor, size: tuple[int, int]) -> ObjectBatch:
        return move(targets, placement, size)

    def place(self, target: Objects, placement: Tensor, size: tuple[int, int]) -> Objects:
        return move(stack([target]), placement[None], size).of(0)

    def compose(self, targets: ObjectBatch, windows: Tensor) -> ObjectBatch:
        return compose(targets, windows)

    def restore(
        self, prediction: Sequence[Detections], index: int, placement: Tensor, size: tuple[int, int]
    ) -> list[Detections]:
        """Detections with at least the threshold's score."""
        return [restored(prediction[index], placement, size, self.threshold)]

    def describe(self, prediction: Sequence[Detections], index: int, info: Info) -> dict[str, Any]:
        """What is found with at least the threshold's score, where, and of how many pixels."""
        return described(prediction[index], info, self.threshold)

    def outline(self, prediction: Sequence[Detections], index: int, info: Info) -> dict[str, Any]:
        """As `describe`, each object with its 'mask'."""
        one = prediction[index]
        assert one.masks is not None
        said = self.describe(prediction, index, info)
        for row, mask in zip(said["objects"], encoded(one.masks[one.scores >= self.threshold]), strict=True):
            row["mask"] = mask
        return said

    def describe_target(self, targets: ObjectBatch, index: int, info: Info) -> dict[str, Any]:
        return described(targets.of(index), info)

    def draw(self, prediction: Sequence[Detections], index: int) -> Drawing:
        """What is found with at least the threshold's score."""
        return drawing_of(prediction[index], self.threshold)

    def draw_target(self, targets: ObjectBatch, index: int) -> Drawing:
        return drawing_of(targets.of(index))


class _Goal(ObjectGoal):
    """Verdicts from one forward pass."""

    def possible(self) -> Tensor:
        if self.kind != "merge" or self.targets.masks is None or not self.targets.there.shape[1]:
            return super().possible()
        return self._neighbours(self.targets.masks.bool(), self.targets.there)[1].any(1)

    def __call__(self, images: Tensor) -> Verdict:
        masker, outputs = masker_of(self.model), self.model(images)
        own, there = masks_of(self.targets, images), self.targets.there
        boxes, logits = masker.candidates(outputs)  # (B, A, 4), (B, A, K)
        any_seen = (logits.detach().flatten(1).sigmoid() >= self.threshold).any(1)
        if not there.shape[1]:
            nothing = torch.zeros_like(any_seen)
            if self.kind == "untargeted":
                loss = masker.losses(outputs, self.targets)
                return Verdict(loss, any_seen, harm=loss.detach())
            return Verdict(logits.float().flatten(1).sum(1) * 0, nothing, harm=nothing.float())
        over = iou(boxes.detach(), self.targets.boxes) * there[:, None]  # (B, A, N)
        index, seen = self._nearest(logits.detach(), over)  # (B, N)
        count, pixels = there.sum(1), own.flatten(2).sum(2).clamp_min(1)
        if self.kind in ("untargeted", "vanish"):
            found = self._found(masker, outputs, index, seen)
            if self.kind == "vanish":
                on = over.amax(2, keepdim=True) >= ON
                value = (F.softplus(logits) * on).flatten(1).sum(1) / on.flatten(1).sum(1).clamp_min(1)
                return Verdict(-value, (found == 0) & (count > 0), harm=1 - found / count.clamp_min(1))
            few = torch.where(count > 0, found / count.clamp_min(1) < self.floor, any_seen)
            loss = masker.losses(outputs, self.targets)
            return Verdict(loss, few, harm=loss.detach())  # average precision asks for more than what is found
        masks = masker.masks(outputs, index, (images.shape[2], images.shape[3]))  # (B, N, H, W)
        drawn = masks.detach() > 0
        inside = (drawn & own).flatten(2).sum(2)
        if self.kind == "shrink":
            lost = (F.softplus(-masks).clamp_max(LOST) * own).flatten(2).sum(2) / pixels
            kept = seen & (inside >= pixels / 2)
            harm = 1 - kept.sum(1) / count.clamp_min(1)
            return Verdict((lost * there).sum(1) / count.clamp_min(1), ~kept.any(1) & (count > 0), harm=harm)
        other, has = self._neighbours(own, there)
        theirs = other.flatten(2).sum(2).clamp_min(1)
        gained = -(F.softplus(-masks) * other).flatten(2).sum(2) / theirs
        swallowed = seen & has & ((drawn & other).flatten(2).sum(2) >= theirs / 2)
        harm = swallowed.sum(1) / count.clamp_min(1)
        return Verdict((gained * has).sum(1) / has.sum(1).clamp_min(1), swallowed.any(1), harm=harm)

    @torch.no_grad()
    def _found(self, masker: Masker, outputs: Any, index: Tensor, seen: Tensor) -> Tensor:
        """(B,) how many objects are seen with a mask that is theirs; the masks of the others are not drawn."""
        masks = self.targets.masks
        assert masks is not None
        most = int(seen.sum(1).max())
        order = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        size = (masks.shape[2], masks.shape[3])
        drawn = masker.masks(outputs, index.gather(1, order), size) > 0
        own = masks.gather(1, order[..., None, None].expand(-1, -1, *size))
        inside, union = (drawn & own).flatten(2).sum(2), (drawn | own).flatten(2).sum(2).clamp_min(1)
        return (seen.gather(1, order) & (inside / union >= OVERLAP)).sum(1)

    def _nearest(self, logits: Tensor, over: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) the surest candidate of each object's class on it, or the nearest; and whether it is seen there."""
        label = self.targets.labels.clamp_min(0)  # (B, N)
        score = logits.gather(2, label[:, None].expand(-1, logits.shape[1], -1)).sigmoid()  # (B, A, N)
        best, index = torch.where(over >= ON, 1 + score, over).max(1)
        return index, (best >= 1 + self.threshold) & self.targets.there

    def _neighbours(self, own: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, H, W) the pixels of the object whose box's middle is nearest to each one's; (B, N) who has one."""
        middle = (self.targets.boxes[..., :2] + self.targets.boxes[..., 2:]) / 2
        apart = torch.cdist(middle, middle)
        barred = ~(there[:, None] & there[..., None]) | torch.eye(there.shape[1], device=apart.device).bool()
        least, index = apart.masked_fill(barred, torch.inf).min(2)
        other = own.gather(1, index[..., None, None].expand_as(own)) & ~own
        return other, least.isfinite() & other.flatten(2).any(2)

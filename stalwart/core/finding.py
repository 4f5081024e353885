"""Models that find objects: what gives their outputs a meaning, and the surest of what they say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import places
from stalwart.core.contracts import Drawing, Info, Objects, Verdict
from stalwart.core.errors import ContractError
from stalwart.core.objects import ObjectBatch, giou

OVERLAP = 0.5
"""The IoU from which on a box or a mask is of an object."""
AGAIN = 0.6
"""The IoU of two boxes of one class from which on the second is the first once more."""
FAINTEST = 1e-3
"""The score below which nothing is a detection."""
AT_ONCE = 8
"""Masks of an image that are computed together: a batch's masks at full size are large."""


NOTHING = 255
"""The class index of a drawing's pixel that belongs to nothing."""


class Finder(Protocol):
    """The part of a model that gives its outputs a meaning: a module within it that has these methods."""

    def candidates(self, outputs: Any) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) in pixels and logits (B, A, K), whose sigmoid is the score."""
        ...

    def losses(self, outputs: Any, targets: ObjectBatch) -> Tensor:
        """(B,) what training minimises: deterministic, of each image alone, no state changed."""
        ...


class Masker(Finder, Protocol):
    """A finder whose candidates have masks."""

    def masks(self, outputs: Any, index: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, n, H, W), above 0 on the object.

        Args:
            index: (B, n) int64, which candidates; masks of all would be too many.
            size: (height, width) of the images.
        """
        ...


@dataclass(frozen=True)
class Detections:
    """What was found in one image, the surest first."""

    boxes: Tensor
    """(n, 4)"""
    labels: Tensor
    """(n,) int64"""
    scores: Tensor
    """(n,) in [0, 1]"""
    masks: Tensor | None = None
    """(n, H, W) bool, where the task asks for them."""


def finder_of(model: nn.Module) -> Finder:
    """The part of a model, or of what a wrapper has within, that knows what its outputs mean.

    Raises:
        ContractError: there is none.
    """
    found: Finder = _within(model, "a detector", "candidates", "losses")
    return found


def masker_of(model: nn.Module) -> Masker:
    """The same of a model whose candidates have masks.

    Raises:
        ContractError: there is none.
    """
    found: Masker = _within(model, "a model for instance segmentation", "candidates", "masks", "losses")
    return found


def _within(model: nn.Module, who: str, *methods: str) -> Any:
    """The first module whose class has these methods. The class is asked, and not the module or `isinstance` of a
    protocol: every attribute that a module lacks costs it an exception, a fifth of a small model's forward pass."""
    for module in model.modules():
        if all(hasattr(type(module), method) for method in methods):
            return module
    called = ", ".join(f"{method}()" for method in methods[:-1]) + f" and {methods[-1]}()"
    raise ContractError(f"{who} must hold a module with {called}, as dense() does. Got {type(model).__name__}.")


class ObjectGoal(ABC):
    """What is done to each image's own objects: everything of such a goal but its verdict.

    Args:
        kind: which of the task's goals.
        threshold: the score from which on something counts as seen.
        floor: the share of the objects below which too few are found.
        wanted: what is to be seen; None for an untargeted goal.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: ObjectBatch,
        kind: str,
        threshold: float,
        floor: float,
        wanted: ObjectBatch | None = None,
    ) -> None:
        self.model, self.targets, self.kind, self.threshold, self.floor = model, targets, kind, threshold, floor
        self.wanted = wanted

    def on(self, model: nn.Module) -> Self:
        return type(self)(model, self.targets, self.kind, self.threshold, self.floor, self.wanted)

    def select(self, index: Tensor) -> Self:
        wanted = None if self.wanted is None else self.wanted[index]
        return type(self)(self.model, self.targets[index], self.kind, self.threshold, self.floor, wanted)

    def possible(self) -> Tensor:
        """(B,) bool: the images in which the goal can be reached at all; most need objects."""
        there = self.targets.there if self.wanted is None else self.wanted.there
        anyway = self.wanted is None and self.kind in ("untargeted", "fabricate")
        return there.any(1) | anyway

    @abstractmethod
    def __call__(self, images: Tensor) -> Verdict: ...


def surest(finder: Finder, outputs: Any, images: Tensor, most: int) -> list[tuple[Tensor, Detections]]:
    """For each image the surest candidates that do not repeat one another: which they are (n,), and what they say.

    Boxes are cut at the image's border. A finder may have `peaks(outputs)`, (B, A, K) bool: candidates that are the
    surest of their neighbourhood. They are looked at beside the surest of all, for the many candidates in the middle of
    a large object would else leave no room for the others.
    """
    boxes, logits = finder.candidates(outputs)
    scores = logits.sigmoid()
    peaks = finder.peaks(outputs) if hasattr(finder, "peaks") else torch.zeros_like(scores, dtype=torch.bool)
    size = torch.tensor([images.shape[3], images.shape[2]] * 2, device=boxes.device, dtype=boxes.dtype)
    boxes = torch.minimum(boxes.clamp_min(0), size)
    return [_best(boxes[row], scores[row], peaks[row], most) for row in range(len(images))]


def surest_masks(masker: Masker, outputs: Any, images: Tensor, most: int) -> list[Detections]:
    """The same with the masks of each, a few at a time."""
    found, size = surest(masker, outputs, images, most), (images.shape[2], images.shape[3])
    many = max((len(index) for index, _ in found), default=0)
    index = torch.zeros(len(found), many, dtype=torch.int64, device=images.device)
    for row, (own, _) in enumerate(found):
        index[row, : len(own)] = own
    parts = [masker.masks(outputs, some, size) > 0 for some in torch.split(index, AT_ONCE, 1)]
    masks = torch.cat(parts, 1)
    return [replace(one, masks=masks[row, : len(own)]) for row, (own, one) in enumerate(found)]


def _best(boxes: Tensor, scores: Tensor, peaks: Tensor, most: int) -> tuple[Tensor, Detections]:
    """Of the candidates (A, 4), (A, K), (A, K) of one image: NMS class by class; it drops who is in twice, too."""
    from torchvision.ops import batched_nms

    flat, many = scores.flatten(), min(scores.numel(), 4 * most)
    place = torch.cat([flat.topk(many).indices, (flat * peaks.flatten()).topk(many).indices])
    place = place[flat[place] > FAINTEST]
    top = flat[place]
    labels, index = place % scores.shape[1], place // scores.shape[1]
    order = batched_nms(boxes[index].float(), top.float(), labels, AGAIN)[:most]
    return index[order], Detections(boxes[index[order]], labels[order], top[order])


def restored(one: Detections, placement: Tensor, size: tuple[int, int], threshold: float) -> Detections:
    """Detections of at least the threshold's score in the pixels of another picture: cut at its border, and what lies
    beyond it left out.

    Args:
        placement: (2, 3) from a place in the other picture to what it shows of the image predicted on.
        size: (height, width) of the other picture.
    """
    boxes = places.move_boxes(one.boxes[None], placement[None].to(one.boxes.device))[0]
    limits = torch.tensor([size[1], size[0]] * 2, device=boxes.device, dtype=boxes.dtype)
    boxes = torch.minimum(boxes.clamp_min(0), limits)
    keep = (one.scores >= threshold) & ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    masks = None if one.masks is None else places.move_shared(one.masks[keep], placement, size)
    return Detections(boxes[keep], one.labels[keep], one.scores[keep], masks)


def divergence(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """(B,) over all candidates the sum of how far each class's being there is from what it was, as the KL of yes and
    no, and of how far the box is, 1 − GIoU, as surely as there was something.

    Args:
        before, after: boxes (B, A, 4) and logits (B, A, K), as `Finder.candidates` gives them.
    """
    (boxes, logits), (moved, other) = before, after
    missed = logits.sigmoid().amax(2) * (1 - giou(boxes, moved)).clamp_min(0)
    return binary_divergence(logits, other).flatten(1).sum(1) + missed.sum(1)


def binary_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """The KL divergence of yes and no, element by element."""
    sure = logits.sigmoid()
    said = sure * (F.logsigmoid(logits) - F.logsigmoid(other))
    return said + (1 - sure) * (F.logsigmoid(-logits) - F.logsigmoid(-other))


def drawing_of(one: Detections | Objects, threshold: float = 0.0) -> Drawing:
    """Objects or detections of one image to be drawn: those of the threshold's score at least, the surest on top."""
    scores = one.scores if isinstance(one, Detections) else torch.ones(len(one), device=one.boxes.device)
    keep = (scores >= threshold).nonzero().squeeze(1)
    area: Tensor | None = None
    if one.masks is not None:
        area = torch.full(one.masks.shape[1:], NOTHING, dtype=torch.uint8, device=one.masks.device)
        for place in keep.flip(0).tolist():
            area[one.masks[place]] = int(one.labels[place])
    return Drawing(one.boxes[keep].float(), one.labels[keep], scores[keep].float(), area)


def described(one: Detections | Objects, info: Info, threshold: float = 0.0) -> dict[str, Any]:
    """Objects or detections of one image in plain values: how many of each class, and each with its place."""
    scores = one.scores.tolist() if isinstance(one, Detections) else [None] * len(one)
    rows: list[dict[str, Any]] = []
    for place, (box, label, score) in enumerate(zip(one.boxes.tolist(), one.labels.tolist(), scores, strict=True)):
        if score is not None and score < threshold:
            continue
        row: dict[str, Any] = {"class": info.classes[label]}
        if score is not None:
            row["score"] = score
        row["box"] = [round(side, 1) for side in box]
        if one.masks is not None:
            row["pixels"] = int(one.masks[place].sum())
        rows.append(row)
    return {"found": _counted([row["class"] for row in rows]), "objects": rows}


def _counted(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))

"""Objects of a batch of images, as one padded record; boxes against boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stalwart.core import places
from stalwart.core.contracts import Objects
from stalwart.core.errors import InputError

NONE = -1
"""The label of a place where there is no object."""


@dataclass(frozen=True)
class ObjectBatch:
    """The objects of B images, N at most each. It is cut by samples like a tensor: `batch[index]`."""

    boxes: Tensor
    """(B, N, 4) float32: left, top, right, bottom."""
    labels: Tensor
    """(B, N) int64 class indices, −1 where there is no object."""
    crowd: Tensor
    """(B, N) bool."""
    masks: Tensor | None = None
    """(B, N, H, W) bool."""
    semantic: Tensor | None = None
    """(B, H, W) uint8, each pixel's class, 255 where it counts for nothing."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> ObjectBatch:
        return ObjectBatch(
            self.boxes[index],
            self.labels[index],
            self.crowd[index],
            None if self.masks is None else self.masks[index],
            None if self.semantic is None else self.semantic[index],
        )

    def to(self, device: torch.device | str) -> ObjectBatch:
        masks = None if self.masks is None else self.masks.to(device)
        semantic = None if self.semantic is None else self.semantic.to(device)
        return ObjectBatch(self.boxes.to(device), self.labels.to(device), self.crowd.to(device), masks, semantic)

    @property
    def there(self) -> Tensor:
        """(B, N) bool: objects that are learned and counted; crowds are neither."""
        return (self.labels != NONE) & ~self.crowd

    def of(self, row: int) -> Objects:
        """One image's."""
        own = self.labels[row] != NONE
        masks = None if self.masks is None else self.masks[row][own]
        semantic = None if self.semantic is None else self.semantic[row]
        return Objects(self.boxes[row][own], self.labels[row][own], masks, self.crowd[row][own], semantic)


def stack(objects: Sequence[Objects]) -> ObjectBatch:
    """Objects of single images as a batch; masks and semantic maps where all have them, padded to the largest image."""
    n = max((len(one) for one in objects), default=0)
    boxes = torch.zeros(len(objects), n, 4)
    labels = torch.full((len(objects), n), NONE, dtype=torch.int64)
    crowd = torch.zeros(len(objects), n, dtype=torch.bool)
    masks: Tensor | None = None
    with_masks = [one.masks for one in objects if one.masks is not None]
    if objects and len(with_masks) == len(objects):
        height, width = (max(mask.shape[axis] for mask in with_masks) for axis in (1, 2))
        masks = torch.zeros(len(objects), n, height, width, dtype=torch.bool)
    for row, one in enumerate(objects):
        count = len(one)
        boxes[row, :count], labels[row, :count] = one.boxes, one.labels
        if one.crowd is not None:
            crowd[row, :count] = one.crowd
        if masks is not None and one.masks is not None:
            masks[row, :count, : one.masks.shape[1], : one.masks.shape[2]] = one.masks
    maps = [one.semantic for one in objects if one.semantic is not None]
    semantic: Tensor | None = None
    if objects and len(maps) == len(objects):
        height, width = (max(map_.shape[axis] for map_ in maps) for axis in (0, 1))
        semantic = torch.full((len(objects), height, width), places.VOID, dtype=torch.uint8)
        for row, map_ in enumerate(maps):
            semantic[row, : map_.shape[0], : map_.shape[1]] = map_
    return ObjectBatch(boxes, labels, crowd, masks, semantic)


def stack_masked(task: str, objects: Sequence[Objects]) -> ObjectBatch:
    """The same where each object must have a mask.

    Raises:
        InputError: boxes alone, which `task` cannot do with.
    """
    if any(one.masks is None and len(one) for one in objects):
        raise InputError(f"{task} needs objects with masks. Got boxes alone, which detection() takes.")
    none = torch.zeros(0, 1, 1, dtype=torch.bool)
    return stack([replace(one, masks=none) if one.masks is None else one for one in objects])


def masks_of(targets: ObjectBatch, images: Tensor) -> Tensor:
    """(B, N, H, W) bool.

    Raises:
        InputError: no masks, or of another size than the images'.
    """
    masks = targets.masks
    if masks is None or (masks.shape[1] and masks.shape[2:] != images.shape[2:]):
        came = "none" if masks is None else tuple(masks.shape[2:])
        raise InputError(f"targets must have masks of the images' size {tuple(images.shape[2:])}. Got {came}.")
    return masks


def joined(first: ObjectBatch, second: ObjectBatch) -> ObjectBatch:
    """The one batch and after it the other; masks and maps where both have them."""
    return stack([batch.of(row) for batch in (first, second) for row in range(len(batch))])


def move(batch: ObjectBatch, placement: Tensor, size: tuple[int, int], least: float = 1.0) -> ObjectBatch:
    """The objects of moved images: boxes cut at the border, objects of which nothing is left taken out.

    Args:
        placement: (B, 2, 3), `core/places.py`.
        size: (height, width) of the moved images.
        least: width and height in pixels below which a box is nothing.
    """
    height, width = size
    boxes = places.move_boxes(batch.boxes, placement.to(batch.boxes.device))
    limits = torch.tensor([width, height, width, height], device=boxes.device, dtype=boxes.dtype)
    boxes = torch.minimum(boxes.clamp_min(0), limits)
    masks = batch.masks
    if masks is not None:
        b, n = masks.shape[:2]
        each = placement.to(masks.device).repeat_interleave(n, 0)
        masks = places.move_masks(masks.flatten(0, 1).to(torch.uint8), each, size, 0).bool().view(b, n, height, width)
    whole = ((boxes[..., 2:] - boxes[..., :2]) >= least).all(-1)
    if masks is not None:
        whole &= masks.flatten(2).any(2)
    semantic = batch.semantic
    if semantic is not None:
        semantic = places.move_masks(semantic, placement.to(semantic.device), size, places.VOID)
    return ObjectBatch(boxes, torch.where(whole, batch.labels, NONE), batch.crowd, masks, semantic)


def compose(batch: ObjectBatch, windows: Tensor, least: float = 1.0) -> ObjectBatch:
    """The objects of m frames to an image, laid together: of each what lies in its frame's window.

    Args:
        batch: of B · m frames, all m of an image one after another.
        windows: (B, m, 4) int64: left, top, right, bottom.
        least: width and height in pixels below which a box is nothing.
    """
    count, m = windows.shape[:2]
    each = windows.flatten(0, 1).to(batch.boxes.device)[:, None]  # (B · m, 1, 4)
    low, high = each[..., :2].repeat(1, 1, 2), each[..., 2:].repeat(1, 1, 2)
    boxes = torch.minimum(torch.maximum(batch.boxes, low.to(batch.boxes.dtype)), high.to(batch.boxes.dtype))
    there = ((boxes[..., 2:] - boxes[..., :2]) >= least).all(-1) & (batch.labels != NONE)
    masks, semantic = batch.masks, batch.semantic
    if masks is not None:
        size = (masks.shape[2], masks.shape[3])
        masks = masks & places.shown(windows.flatten(0, 1).to(masks.device), size)[:, None]
        there &= masks.flatten(2).any(2)
    if semantic is not None:
        semantic = places.compose_masks(semantic, windows.to(semantic.device), places.VOID)
    labels = torch.where(there, batch.labels, NONE).view(count, m * batch.labels.shape[1])  # (B, m · N)
    most = int((labels != NONE).sum(1).max()) if labels.numel() else 0
    order = (
        (labels == NONE).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    )  # objects first, as many as there are
    rows = torch.arange(count, device=order.device)[:, None]

    def picked(values: Tensor) -> Tensor:
        return values.reshape(count, m * values.shape[1], *values.shape[2:])[rows, order]

    kept = None if masks is None else picked(masks)
    return ObjectBatch(picked(boxes), labels[rows, order], picked(batch.crowd), kept, semantic)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """(B, N, M) intersection over union of boxes (B, N, 4) and (B, M, 4)."""
    low = torch.maximum(first[:, :, None, :2], second[:, None, :, :2])
    high = torch.minimum(first[:, :, None, 2:], second[:, None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    return shared / (area(first)[:, :, None] + area(second)[:, None] - shared).clamp_min(1e-9)


def area(boxes: Tensor) -> Tensor:
    """(...,) of boxes (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def giou(first: Tensor, second: Tensor) -> Tensor:
    """(...,) generalised IoU of boxes (..., 4) pair by pair (Rezatofighi et al., CVPR 2019)."""
    shared = (
        torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    ).clamp_min(0)
    inner = shared.prod(-1)
    union = area(first) + area(second) - inner
    around = (torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])).prod(-1)
    return inner / union.clamp_min(1e-9) - (around - union) / around.clamp_min(1e-9)

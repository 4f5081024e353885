"""torchvision's detectors as modules that give plain tensors, with losses that are each image's own.

torchvision's detectors give losses in training and boxes otherwise, rescale what they are given, and the two-stage ones
draw the samples of their losses at random. Here one forward pass gives the heads' outputs in either mode, beside the
anchors that they refer to, and all else is computed from those.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou, roi_align

from stalwart.core.layers import Normalise
from stalwart.core.objects import ObjectBatch, area

PROPOSALS, PROPOSALS_WITH_MASKS = 200, 100
"""Regions of an image that a two-stage detector looks at again."""
SEARCHED = 1000
"""Anchors of a level that may become proposals."""
NEGATIVES = 3
"""Hard negatives to a positive (Liu et al., "SSD", ECCV 2016)."""
FEWEST = 16
"""Hard negatives of an image at least."""
BETA = 1 / 9
"""Where the boxes' smooth L1 loss turns from square to straight (torchvision's)."""


class OneStage(nn.Module):
    """SSD, SSDlite, RetinaNet or FCOS.

    The output is (B, A, 8 + ...): each anchor's box, its four regressed numbers, for FCOS its centreness, and its
    logits.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.published = _unscaled(net)
        self.normalise = Normalise(3)
        self.net = net
        self.first = 9 if isinstance(net, FCOS) else 8  # the column at which logits begin

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.normalise(images)
        levels = _levels(self.net.backbone(pixels))
        said = self.net.head(levels)
        anchors = _anchors(self.net.anchor_generator, pixels, levels).expand(len(images), -1, -1)
        middle = [said["bbox_ctrness"]] if isinstance(self.net, FCOS) else []
        return torch.cat([anchors, said["bbox_regression"].float(), *middle, said["cls_logits"]], 2)

    def candidates(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) and logits (B, A, K) of the scores by which the family ranks its detections."""
        raw = raw.float()
        anchors, moved, logits = raw[..., :4], raw[..., 4:8], raw[..., self.first :]
        if isinstance(self.net, FCOS):
            boxes = self.net.box_coder.decode(moved, anchors)
            # The score is √(p · centreness).
            return boxes, _logit((F.logsigmoid(logits) + F.logsigmoid(raw[..., 8:9])) / 2)
        boxes = self.net.box_coder.decode_single(moved.flatten(0, 1), anchors.flatten(0, 1)).view_as(moved)
        if isinstance(self.net, SSD):
            return boxes, _logit(logits.log_softmax(2)[..., 1:])
        return boxes, logits

    def losses(self, raw: Tensor, targets: ObjectBatch) -> Tensor:
        """(B,) the family's loss of each image as if it were alone."""
        raw = raw.float()
        return torch.stack([self._loss(raw[row], _own(targets, row)) for row in range(len(raw))])

    def _loss(self, raw: Tensor, own: dict[str, Tensor]) -> Tensor:
        anchors, logits = raw[:, :4].detach(), raw[:, self.first :]
        said = {"bbox_regression": raw[None, :, 4:8], "cls_logits": logits[None]}
        if isinstance(self.net, FCOS):
            said["bbox_ctrness"] = raw[None, :, 8:9]
            # An anchor's side tells its level; FCOS wants to know how many belong to the first and the last.
            side = anchors[:, 2] - anchors[:, 0]
            counts = [int((side == side.min()).sum()), int((side == side.max()).sum())]
            return _sum(self.net.compute_loss([own], said, [anchors], counts))
        if not isinstance(self.net, SSD):
            return _sum(self.net.compute_loss([own], said, [anchors]))
        if not len(own["labels"]):
            # SSD takes negatives by the number of positives: none at all here. As many as for one object, then.
            return (
                F.cross_entropy(logits, logits.new_zeros(len(logits)).long(), reduction="none").topk(NEGATIVES)[0].sum()
            )
        matched = self.net.proposal_matcher(box_iou(own["boxes"], anchors))
        return _sum(self.net.compute_loss([{**own, "labels": own["labels"] + 1}], said, [anchors], [matched]))


class TwoStage(nn.Module):
    """Faster or Mask R-CNN.

    The outputs are (B, A, 9), each anchor's box, four regressed numbers and objectness; (B, P, 4 + 5 (K + 1)), each
    proposal's box, its logits and its four regressed numbers for each class, the background first; and, with masks,
    (B, P, K + 1, 28, 28), their logits within the proposals' final boxes. Proposals that there are too few of are
    boxes of no size. A candidate is a proposal, and its box that of its surest class.
    """

    def __init__(self, net: Any, masked: bool) -> None:
        super().__init__()
        self.published = _unscaled(net)
        self.normalise = Normalise(3)
        self.net, self.masked = net, masked
        if not masked:  # parameters that nothing trains would be refused by processes that train together
            net.roi_heads.mask_roi_pool = net.roi_heads.mask_head = net.roi_heads.mask_predictor = None
        self.most = PROPOSALS_WITH_MASKS if masked else PROPOSALS
        net.rpn._pre_nms_top_n = dict.fromkeys(("training", "testing"), SEARCHED)
        net.rpn._post_nms_top_n = dict.fromkeys(("training", "testing"), self.most)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels, shapes = self.normalise(images), [(images.shape[2], images.shape[3])] * len(images)
        features = self.net.backbone(pixels)
        levels = _levels(features)
        found, moved = self.net.rpn.head(levels)
        counts = [level[0].numel() for level in found]
        found, moved = (part.float() for part in concat_box_prediction_layers(found, moved))  # (B·A, 1), (B·A, 4)
        anchors = _anchors(self.net.rpn.anchor_generator, pixels, levels)
        with torch.no_grad():
            boxes = self.net.rpn.box_coder.decode(moved, [anchors] * len(images)).view(len(images), -1, 4)
            chosen, _ = self.net.rpn.filter_proposals(boxes, found, shapes, counts)
            regions = torch.stack([F.pad(one, (0, 0, 0, self.most - len(one))) for one in chosen])  # (B, P, 4)
        first = torch.cat(
            [anchors.expand(len(images), -1, -1), moved.view_as(boxes), found.view(*boxes.shape[:2], 1)], 2
        )
        heads = self.net.roi_heads
        pooled = heads.box_roi_pool(features, list(regions), shapes)
        logits, shifts = heads.box_predictor(heads.box_head(pooled))
        second = torch.cat([regions.flatten(0, 1), logits.float(), shifts.float()], 1).view(*regions.shape[:2], -1)
        if not self.masked:
            return first, second
        within = _cut(self.candidates((first, second))[0].detach(), shapes[0])
        seen = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, list(within), shapes)))
        return first, second, seen.view(*regions.shape[:2], *seen.shape[1:])

    def candidates(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (B, P, 4) and logits (B, P, K)."""
        regions, logits, shifts = self._parts(outputs[1])
        boxes = self.net.roi_heads.box_coder.decode(shifts.flatten(0, 1), list(regions)).view(*regions.shape[:2], -1, 4)
        boxes = boxes.gather(2, self._surest(logits)[..., None, None].expand(-1, -1, 1, 4)).squeeze(2)
        nobody = (area(regions) <= 0)[..., None]
        return boxes, _logit(logits.log_softmax(2)[..., 1:]).masked_fill(nobody, -100.0)

    def masks(self, outputs: tuple[Tensor, ...], index: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, n, H, W) the masks within the candidates' boxes laid into the image; −100 outside of these."""
        label = self._surest(self._parts(outputs[1])[1]).gather(1, index)  # (B, n)
        rows = torch.arange(len(index), device=index.device)[:, None]
        small = outputs[2].float()[rows, index, label]  # (B, n, 28, 28)
        boxes = _cut(self.candidates(outputs)[0], size).gather(1, index[..., None].expand(-1, -1, 4))
        return _laid(small, boxes, size)

    def losses(self, outputs: tuple[Tensor, ...], targets: ObjectBatch) -> Tensor:
        """(B,) objectness, classes, boxes and masks, each as in the paper, over positives and the hardest negatives.

        Ren et al., "Faster R-CNN" (NeurIPS 2015) and He et al., "Mask R-CNN" (ICCV 2017) draw 256 anchors and 512
        proposals at random. Hard ones in their place are of Shrivastava, Gupta and Girshick, "Training region-based
        object detectors with online hard example mining" (CVPR 2016).
        """
        first = outputs[0].float()
        parts = self._parts(outputs[1])
        within = self.candidates(outputs)[0].detach() if self.masked else None
        losses = []
        for row in range(len(first)):
            own = _own(targets, row)
            loss = self._of_anchors(first[row], own)
            regions, logits, shifts = (part[row] for part in parts)
            (match,), (label,) = self.net.roi_heads.assign_targets_to_proposals(
                [regions], [own["boxes"]], [own["labels"] + 1]
            )
            label = torch.where(area(regions) > 0, label, -1)
            loss = loss + self._of_regions(regions, logits, shifts, own["boxes"], match, label)
            positive = label > 0
            if within is not None and bool(positive.any()):
                assert targets.masks is not None
                whole = targets.masks[row][own["place"]]
                boxes = _cut(within[row][positive], (whole.shape[1], whole.shape[2]))
                rois = torch.cat([match[positive][:, None].to(boxes.dtype), boxes], 1)
                small = outputs[2][row][positive, label[positive]].float()
                target = roi_align(whole[:, None].float(), rois, (small.shape[1], small.shape[2]), 1.0, aligned=True)[
                    :, 0
                ]
                loss = loss + F.binary_cross_entropy_with_logits(small, target)
            losses.append(loss)
        return torch.stack(losses)

    def _parts(self, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Proposals (B, P, 4), logits (B, P, K + 1), regressed numbers (B, P, 4 (K + 1))."""
        count = (second.shape[2] - 4) // 5
        second = second.float()
        return second[..., :4].detach(), second[..., 4 : 4 + count], second[..., 4 + count :]

    @staticmethod
    def _surest(logits: Tensor) -> Tensor:
        return logits[..., 1:].argmax(-1) + 1

    def _of_anchors(self, raw: Tensor, own: dict[str, Tensor]) -> Tensor:
        anchors, moved, found = raw[:, :4].detach(), raw[:, 4:8], raw[:, 8]
        (label,), (boxes,) = self.net.rpn.assign_targets_to_anchors([anchors], [own])
        positive, negative = label == 1, label == 0
        wrong = F.binary_cross_entropy_with_logits(found, label.clamp_min(0), reduction="none")
        loss, count = _hard(wrong, positive, negative)
        (target,) = self.net.rpn.box_coder.encode([boxes[positive]], [anchors[positive]])
        return loss + F.smooth_l1_loss(moved[positive], target, beta=BETA, reduction="sum") / count

    def _of_regions(
        self, regions: Tensor, logits: Tensor, shifts: Tensor, boxes: Tensor, match: Tensor, label: Tensor
    ) -> Tensor:
        positive, negative = label > 0, label == 0
        wrong = F.cross_entropy(logits, label.clamp_min(0), reduction="none")
        loss, count = _hard(wrong, positive, negative)
        if not bool(positive.any()):
            return loss
        (target,) = self.net.roi_heads.box_coder.encode([boxes[match[positive]]], [regions[positive]])
        chosen = shifts[positive].view(len(target), -1, 4)[torch.arange(len(target)), label[positive]]
        return loss + F.smooth_l1_loss(chosen, target, beta=BETA, reduction="sum") / count


def _unscaled(net: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Takes the resizing and normalising out of a detector; what it normalised by."""
    published = tuple(net.transform.image_mean), tuple(net.transform.image_std)
    del net.transform
    return published


def _levels(features: Tensor | OrderedDict[str, Tensor]) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features.values())


def _anchors(generator: Any, pixels: Tensor, levels: list[Tensor]) -> Tensor:
    """(A, 4) in float32 whatever the features are in: half precision cannot tell places apart."""
    shapes = [level.new_empty(level.shape, dtype=torch.float32) for level in levels]
    size = (pixels.shape[2], pixels.shape[3])
    found: Tensor = generator(ImageList(pixels[:1], [size]), shapes)[0]
    return found


def _own(targets: ObjectBatch, row: int) -> dict[str, Tensor]:
    """One image's objects as torchvision has them, and where they stand in the batch."""
    boxes = targets.boxes[row]
    place = (targets.there[row] & (area(boxes) > 0)).nonzero()[:, 0]
    return {"boxes": boxes[place], "labels": targets.labels[row][place], "place": place}


def _sum(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _logit(logp: Tensor) -> Tensor:
    """log p − log(1 − p), from log p."""
    logp = logp.clamp_max(-1e-7)
    return logp - (-torch.expm1(logp)).log()


def _hard(wrong: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, int]:
    """The mean of `wrong` (A,) over the positives and the hardest negatives, and how many these are."""
    count = int(positive.sum())
    many = min(max(NEGATIVES * count, FEWEST), int(negative.sum()))
    hardest = wrong.masked_fill(~negative, -1.0).topk(many).values
    total = max(count + many, 1)
    return ((wrong * positive).sum() + hardest.sum()) / total, total


def _cut(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) within an image of `size`."""
    return torch.minimum(boxes.clamp_min(0), boxes.new_tensor([size[1], size[0]] * 2))


def _laid(small: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, n, H, W): each small mask (B, n, m, m) stretched over its box (B, n, 4), bilinear."""
    height, width = size
    down, shown_down = _stretched(boxes[..., 1], boxes[..., 3], height, small.shape[2])
    across, shown_across = _stretched(boxes[..., 0], boxes[..., 2], width, small.shape[3])
    laid = down @ small @ across.transpose(2, 3)
    return laid.masked_fill(~(shown_down[..., :, None] & shown_across[..., None, :]), -100.0)


def _stretched(low: Tensor, high: Tensor, pixels: int, cells: int) -> tuple[Tensor, Tensor]:
    """(B, n, pixels, cells) how much each pixel takes of each cell between `low` and `high`; and who lies between."""
    middle = torch.arange(pixels, device=low.device) + 0.5
    share = (middle - low[..., None]) / (high - low).clamp_min(1e-3)[..., None]
    at = (share * cells - 0.5).clamp(0, cells - 1)[..., None]
    weight = (1 - (at - torch.arange(cells, device=low.device)).abs()).clamp_min(0)
    return weight, (share >= 0) & (share <= 1)

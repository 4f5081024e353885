"""Heads upon a dense network's features: a semantic map; centres and boxes; masks; several of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.contracts import Signature
from stalwart.core.objects import ObjectBatch, giou


class Conv(nn.Sequential):
    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, active: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if active else []))


class Semantic(nn.Module):
    def __init__(self, neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.1)
        self.out = nn.Conv2d(neck, signature.classes, 1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        logits: Tensor = self.out(self.drop(features))
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)


class Centres(nn.Module):
    """Centres and boxes; with what training needs (`losses`) and what the task reads (`candidates`)."""

    def __init__(self, neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.classes, self.stride = signature.classes, stride
        self.tower = nn.Sequential(Conv(neck, neck), Conv(neck, neck))
        self.out = nn.Conv2d(neck, signature.classes + 4, 1)
        assert self.out.bias is not None
        with torch.no_grad():  # centres are rare: begin with a probability of a hundredth (Lin et al., ICCV 2017)
            self.out.bias.fill_(0.0)[: signature.classes] = -math.log(99.0)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        raw: Tensor = self.out(self.tower(features))
        return raw

    def candidates(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """What may be an object: boxes (B, A, 4) in pixels of the image, and logits (B, A, K) of each class."""
        logits, reach = raw.float()[:, : self.classes], raw.float()[:, self.classes :]
        return self._boxes(reach).flatten(2).transpose(1, 2), logits.flatten(2).transpose(1, 2)

    def peaks(self, raw: Tensor) -> Tensor:
        """(B, A, K) bool: candidates that are the largest of their class among their eight neighbours."""
        logits = raw[:, : self.classes]
        return (F.max_pool2d(logits, 3, 1, 1) == logits).flatten(2).transpose(1, 2)

    def losses(self, raw: Tensor, targets: ObjectBatch) -> Tensor:
        """(B,) focal loss of the centres (Objects as points, equation 1) and generalised IoU of the boxes (TTFNet)."""
        logits, reach = raw.float()[:, : self.classes], raw.float()[:, self.classes :]
        height, width = logits.shape[2:]
        near = _gaussians(targets, (height, width), self.stride)  # (B, N, h, w)
        place = targets.labels.clamp_min(0)[:, :, None, None].expand_as(near)
        heat = torch.zeros_like(logits).scatter_reduce_(1, place, near, "amax")
        count = targets.there.sum(1).clamp_min(1)
        found = _focal(logits, heat).flatten(1).sum(1) / count
        if not near.shape[1]:
            return found
        weight, owner = near.max(1)  # (B, h, w): each place learns the object that it is most in the middle of
        weight = weight * (weight > 0.1)
        boxes = targets.boxes.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 4))  # (B, h·w, 4)
        ours = self._boxes(reach).flatten(2).transpose(1, 2)
        miss = (1 - giou(ours, boxes)) * weight.flatten(1)
        return found + 2 * miss.sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)

    def _boxes(self, reach: Tensor) -> Tensor:
        """(B, 4, h, w): left, top, right, bottom from the distances of each place to the four sides."""
        height, width = reach.shape[2:]
        y = (torch.arange(height, device=reach.device) + 0.5) * self.stride
        x = (torch.arange(width, device=reach.device) + 0.5) * self.stride
        sides = F.softplus(reach) * (4 * self.stride)
        left, top, right, bottom = sides.unbind(1)
        return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], 1)


class Instances(nn.Module):
    """Centres, boxes, and for each place the weights of a network that draws a mask (CondInst, section 3).

    Masks are drawn at half the map's stride: a place holds the features of its four quarters one after another (Shi et
    al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural network",
    CVPR 2016), for small objects lie within a place or two.
    """

    def __init__(self, neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.stride, self.first = stride, signature.classes + 4
        self.finer = 1 if stride == 2 else 2  # pixels of the mask features to a place of the map, in each direction
        self.features = _SHARED * self.finer**2
        self.centres = Centres(neck, signature, stride)
        self.weights = nn.Sequential(Conv(neck, neck), nn.Conv2d(neck, sum(_LAYERS), 1))
        self.shared = nn.Sequential(Conv(neck, neck), nn.Conv2d(neck, self.features, 1))

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.cat([self.centres(features, size), self.weights(features), self.shared(features)], 1)

    def candidates(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.centres.candidates(raw[:, : self.first])

    def peaks(self, raw: Tensor) -> Tensor:
        return self.centres.peaks(raw[:, : self.first])

    def masks(self, raw: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, n, H, W) of the masks of the candidates at `index` (B, n)."""
        rows = torch.arange(len(index), device=index.device).repeat_interleave(index.shape[1])
        return self._drawn(raw.float(), rows, index.flatten(), size).view(*index.shape, *size)

    def losses(self, raw: Tensor, targets: ObjectBatch) -> Tensor:
        """(B,) that of the centres and boxes, and of the masks Dice's (CondInst, equation 3) and the cross-entropy.

        Each object's mask is drawn from the places that are most in its middle, three at most, and compared in the
        image's own pixels, as it is judged: at the map's places a small object covers half of none.
        """
        raw = raw.float()
        loss = self.centres.losses(raw[:, : self.first], targets)
        if targets.masks is None or not targets.masks.shape[1]:
            return loss
        height, width = raw.shape[2:]
        near = _gaussians(targets, (height, width), self.stride).flatten(2)  # (B, N, h·w)
        weight, index = near.topk(min(_PLACES, height * width), 2)  # (B, N, 3)
        weight = weight * (weight > 0.1)
        row, which, number = weight.nonzero(as_tuple=True)  # most objects have fewer places, most images fewer objects
        logits = self._drawn(raw, row, index[row, which, number], (targets.masks.shape[2], targets.masks.shape[3]))
        logits, wanted = logits.flatten(1), targets.masks[row, which].flatten(1).float()  # (P, H·W)
        p = logits.sigmoid()
        dice = 1 - (2 * (p * wanted).sum(1) + 1) / (p.square().sum(1) + wanted.sum(1) + 1)
        wrong = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
        miss = torch.zeros_like(weight).index_put((row, which, number), dice + wrong)
        drawn: Tensor = (miss * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-6)
        return loss + 2 * drawn

    def _drawn(self, raw: Tensor, row: Tensor, place: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (P, H, W) of what P places of a batch draw, each given by its image's `row` and its `place` there.

        A place's own network is applied to the shared features and to how far away, in halves of the place's own box, a
        pixel of theirs is from it.
        """
        if not len(row):
            return raw.new_zeros(0, *size)
        shared, columns, step = F.pixel_shuffle(raw[:, -self.features :], self.finer), raw.shape[3], self.stride
        height, width = shared.shape[2:]
        boxes = self.candidates(raw)[0][row, place]
        half = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp_min(step)  # (P, 2)
        x, y = ((torch.arange(side, device=raw.device) + 0.5) / self.finer - 0.5 for side in (width, height))
        across = (x - (place % columns)[:, None]) * step / half[:, :1]  # (P, w)
        down = (y - (place // columns)[:, None]) * step / half[:, 1:]  # (P, h)
        chosen = raw[:, self.first : -self.features].flatten(2)[row, :, place]
        layers = zip(torch.split(chosen, _LAYERS, 1), _INPUTS, strict=True)
        first, second, third = (part.view(len(row), -1, inputs + 1) for part, inputs in layers)
        # The first layer's inputs are the shared features, and how far to the right and below a pixel is.
        seen = torch.bmm(first[..., :_SHARED], shared.flatten(2).index_select(0, row))
        seen = seen.view(len(row), -1, height, width) + first[..., _SHARED, None, None] * across[:, None, None, :]
        seen = seen + first[..., _SHARED + 1, None, None] * down[:, None, :, None]
        seen = F.relu(seen + first[..., -1, None, None]).flatten(2)
        for layer, active in ((second, True), (third, False)):
            seen = torch.baddbmm(layer[..., -1:], layer[..., :-1], seen)
            seen = F.relu(seen) if active else seen
        small = seen.view(len(row), 1, height, width)
        large = F.interpolate(small, scale_factor=step / self.finer, mode="bilinear", align_corners=False)
        return large[:, 0, : size[0], : size[1]]


class Boxes(nn.Module):
    """Several heads upon the same features: a dict of what each gives, and its boxes read as a finder reads them.

    Boxes are a part of what masks need: where there are both, the head of the masks gives both.
    """

    def __init__(self, names: tuple[str, ...], neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.names, self.boxes = names, signature.classes + 4
        self.finds = "instance" if "instance" in names else "detection"
        built = [name for name in names if name in ("semantic", self.finds)]
        self.heads = nn.ModuleDict({name: HEADS[name](neck, signature, stride) for name in built})

    def forward(self, features: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        said = {name: head(features, size) for name, head in self.heads.items()}
        if "detection" not in said:
            said["detection"] = said[self.finds][:, : self.boxes]
        return {name: said[name] for name in self.names}

    def candidates(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self._finder().candidates(outputs[self.finds])
        return found

    def peaks(self, outputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self._finder().peaks(outputs[self.finds])
        return found

    def losses(self, outputs: dict[str, Tensor], targets: ObjectBatch) -> Tensor:
        found: Tensor = self._finder().losses(outputs[self.finds], targets)
        return found

    def _finder(self) -> Any:
        return self.heads[self.finds]


class Masks(Boxes):
    """The same where one head draws masks."""

    def masks(self, outputs: dict[str, Tensor], index: Tensor, size: tuple[int, int]) -> Tensor:
        found: Tensor = self._finder().masks(outputs["instance"], index, size)
        return found


HEADS: dict[str, Callable[[int, Signature, int], nn.Module]] = {
    "semantic": Semantic,
    "detection": Centres,
    "instance": Instances,
}
"""For each kind of output its head: from the features' channels, what it is built for, and the features' stride."""


def head_of(names: tuple[str, ...], neck: int, signature: Signature, stride: int) -> nn.Module:
    """One head, or several as one."""
    if len(names) == 1:
        return HEADS[names[0]](neck, signature, stride)
    return (Masks if "instance" in names else Boxes)(names, neck, signature, stride)


_SHARED = 8
"""Mask features, and channels of the networks that draw."""
_INPUTS = (_SHARED + 2, _SHARED, _SHARED)
"""Inputs of their three layers."""
_LAYERS = [(_SHARED + 2 + 1) * _SHARED, (_SHARED + 1) * _SHARED, _SHARED + 1]
"""Weights and biases of the same: 169 together, as in the paper."""
_PLACES = 3
"""Places that learn an object's mask."""


def _gaussians(targets: ObjectBatch, size: tuple[int, int], stride: int) -> Tensor:
    """(B, N, h, w) for each object 1 at its centre's place, falling with a deviation of 0.09 of its sides (TTFNet)."""
    height, width = size
    boxes = targets.boxes / stride
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2  # (B, N, 2), at the places' corners; a place's centre is at + 0.5
    middle = torch.minimum(middle.floor().clamp_min(0), torch.tensor([width - 1, height - 1], device=boxes.device))
    spread = ((boxes[..., 2:] - boxes[..., :2]) * (0.54 / 6)).clamp_min(0.3)
    x, y = torch.arange(width, device=boxes.device), torch.arange(height, device=boxes.device)
    across = ((x - middle[..., :1]) / spread[..., :1]).square()  # (B, N, w)
    down = ((y - middle[..., 1:]) / spread[..., 1:]).square()  # (B, N, h)
    near = torch.exp(-(down[..., :, None] + across[..., None, :]) / 2)
    return near * targets.there[..., None, None]


def _focal(logits: Tensor, heat: Tensor) -> Tensor:
    """Objects as points, equation 1: α = 2, β = 4. The heat is exactly 1 at centres."""
    p = logits.sigmoid()
    hit = -F.logsigmoid(logits) * (1 - p).square()
    miss = -F.logsigmoid(-logits) * p.square() * (1 - heat).pow(4)
    return torch.where(heat == 1, hit, miss)

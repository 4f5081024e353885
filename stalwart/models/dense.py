"""A small network for dense tasks: an encoder of our own or timm's, a light feature pyramid, a head for the task."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.core.layers import Normalise
from stalwart.core.objects import ObjectBatch, giou


@component
class dense:
    """Features at 1/2 to 1/16 of the image's size, summed from coarse to fine, and a head upon them.

    The pyramid is that of Lin et al., "Feature pyramid networks for object detection" (CVPR 2017) with sums in place of
    separate levels, as its panoptic form has it (Kirillov et al., CVPR 2019). Trains from scratch on a CPU.

    Heads by the task, each a plain tensor of one forward pass:
    - `semantic`: logits (B, K, H, W).
    - `detection`: (B, K + 4, h, w), for each class the logit of an object's centre being there, and the distances to
      its four sides, in the manner of CenterNet (Zhou, Wang and Krähenbühl, "Objects as points", 2019) with the boxes
      and the training of TTFNet (Liu et al., "Training-time-friendly network for object detection", AAAI 2020).
    """

    width: Annotated[int, at_least(4)] = 24
    """Channels of the encoder's first stage; each further one has twice as many, up to 8 times."""
    neck: Annotated[int, at_least(8)] = 64
    """Channels of the pyramid."""
    depth: Annotated[int, at_least(1)] = 2
    """Residual blocks of each stage."""
    stride: Literal[2, 4] = 2
    """Pixels of the image, in each direction, to a place of the head's map."""

    def build(self, signature: Signature) -> nn.Module:
        heads = {"semantic": _Semantic, "detection": _Centres, "instance": _Instances}
        if signature.task not in heads:
            raise InputError(f"dense serves the tasks {', '.join(heads)}. Got {signature.task}.")
        return _Dense(self, signature, heads[signature.task])

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, _Dense)
        model.normalise.fit(images)


class _Conv(nn.Sequential):
    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, active: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if active else []))


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _Conv(before, after, 3, stride)
        self.second = _Conv(after, after, 3, active=False)
        self.short = nn.Identity() if before == after and stride == 1 else _Conv(before, after, 1, stride, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.short(x))


class _Dense(nn.Module):
    def __init__(self, made: dense, signature: Signature, head: Any) -> None:
        super().__init__()
        width, neck, depth = made.width, made.neck, made.depth
        self.normalise = Normalise(signature.channels)
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stem = _Conv(signature.channels, width, 3, 2)  # 1/2
        stages, before = [], width
        for number, channels in enumerate(widths):
            blocks = [_Residual(before, channels, 1 if number == 0 else 2)]
            blocks += [_Residual(channels, channels, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            before = channels
        self.stages = nn.ModuleList(stages)  # 1/2, 1/4, 1/8, 1/16
        self.scene = _Conv(before, neck, 1)
        self.finest = made.stride // 4  # the first stage that the pyramid ends at: 0 or 1
        self.lateral = nn.ModuleList([_Conv(channels, neck, 1, active=False) for channels in widths[self.finest :]])
        self.smooth = nn.ModuleList([_Conv(neck, neck) for _ in widths[self.finest : -1]])
        self.head = head(neck, signature, made.stride)

    def forward(self, images: Tensor) -> Any:
        x = self.stem(self.normalise(images))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        # What the whole scene is like goes to every place (Zhao et al., "Pyramid scene parsing network", CVPR 2017).
        levels = levels[self.finest :]
        top = self.lateral[-1](levels[-1]) + self.scene(levels[-1].mean((2, 3), keepdim=True))
        for number in range(len(levels) - 2, -1, -1):
            size = levels[number].shape[2:]
            up = F.interpolate(top, size, mode="bilinear", align_corners=False)
            top = self.smooth[number](F.relu(self.lateral[number](levels[number]) + up))
        return self.head(top, (images.shape[2], images.shape[3]))


class _Semantic(nn.Module):
    def __init__(self, neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.1)
        self.out = nn.Conv2d(neck, signature.classes, 1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        logits: Tensor = self.out(self.drop(features))
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)


class _Centres(nn.Module):
    """Centres and boxes; with what training needs (`losses`) and what the task reads (`candidates`)."""

    def __init__(self, neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.classes, self.stride = signature.classes, stride
        self.tower = nn.Sequential(_Conv(neck, neck), _Conv(neck, neck))
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


class _Instances(nn.Module):
    """Centres, boxes, and for each place the weights of a network that draws a mask (CondInst, section 3)."""

    def __init__(self, neck: int, signature: Signature, stride: int) -> None:
        super().__init__()
        self.stride, self.first = stride, signature.classes + 4
        self.centres = _Centres(neck, signature, stride)
        self.weights = nn.Sequential(_Conv(neck, neck), nn.Conv2d(neck, sum(_LAYERS), 1))
        self.shared = nn.Sequential(_Conv(neck, neck), nn.Conv2d(neck, _SHARED, 1))

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.cat([self.centres(features, size), self.weights(features), self.shared(features)], 1)

    def candidates(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.centres.candidates(raw[:, : self.first])

    def peaks(self, raw: Tensor) -> Tensor:
        return self.centres.peaks(raw[:, : self.first])

    def masks(self, raw: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, n, H, W) of the masks of the candidates at `index` (B, n)."""
        small = self._drawn(raw.float(), index)
        if not small.shape[1]:
            return small.new_zeros(*small.shape[:2], *size)
        large = F.interpolate(small, scale_factor=float(self.stride), mode="bilinear", align_corners=False)
        return large[:, :, : size[0], : size[1]]

    def losses(self, raw: Tensor, targets: ObjectBatch) -> Tensor:
        """(B,) that of the centres and boxes, and of the masks Dice's (CondInst, equation 3) and the cross-entropy.

        Each object's mask is drawn from the three places that are most in its middle.
        """
        raw = raw.float()
        loss = self.centres.losses(raw[:, : self.first], targets)
        if targets.masks is None or not targets.masks.shape[1]:
            return loss
        height, width = raw.shape[2:]
        near = _gaussians(targets, (height, width), self.stride).flatten(2)  # (B, N, h·w)
        weight, index = near.topk(min(_PLACES, height * width), 2)  # (B, N, 3)
        weight = (weight * (weight > 0.1)).flatten(1)
        logits = self._drawn(raw, index.flatten(1)).flatten(2)  # (B, 3 N, h·w)
        edge = (0, width * self.stride - targets.masks.shape[3], 0, height * self.stride - targets.masks.shape[2])
        wanted = F.avg_pool2d(F.pad(targets.masks.float(), edge), self.stride).flatten(2)
        wanted = wanted.repeat_interleave(index.shape[2], 1)
        p = logits.sigmoid()
        dice = 1 - (2 * (p * wanted).sum(2) + 1) / (p.square().sum(2) + wanted.square().sum(2) + 1)
        wrong = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        miss = dice + wrong.mean(2)
        drawn: Tensor = (miss * weight).sum(1) / weight.sum(1).clamp_min(1e-6)
        return loss + 2 * drawn

    def _drawn(self, raw: Tensor, index: Tensor) -> Tensor:
        """Logits (B, n, h, w): each place's own network, applied to the shared features and to how far away, in halves
        of the place's own box, a pixel is from it."""
        height, width = raw.shape[2:]
        boxes = self.candidates(raw)[0].gather(1, index[..., None].expand(-1, -1, 4))
        half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp_min(self.stride)  # (B, n, 2)
        x, y = (torch.arange(side, device=raw.device) for side in (width, height))
        across = (x - (index % width)[..., None]) * self.stride / half[..., :1]  # (B, n, w)
        down = (y - (index // width)[..., None]) * self.stride / half[..., 1:]  # (B, n, h)
        weights = raw[:, self.first : -_SHARED].flatten(2).transpose(1, 2)
        chosen = weights.gather(1, index[..., None].expand(-1, -1, weights.shape[2]))
        layers = zip(torch.split(chosen, _LAYERS, 2), _INPUTS, strict=True)
        first, second, third = (part.view(*index.shape, -1, inputs + 1) for part, inputs in layers)
        # The first layer's inputs are the shared features, and how far to the right and below a pixel is.
        seen: Tensor = torch.einsum("bnoi,bihw->bnohw", first[..., :_SHARED], raw[:, -_SHARED:])
        seen = seen + first[..., _SHARED, None, None] * across[:, :, None, None, :]
        seen = seen + first[..., _SHARED + 1, None, None] * down[:, :, None, :, None]
        seen = F.relu(seen + first[..., -1, None, None])
        for layer, active in ((second, True), (third, False)):
            seen = torch.einsum("bnoi,bnihw->bnohw", layer[..., :-1], seen) + layer[..., -1, None, None]
            seen = F.relu(seen) if active else seen
        return seen.squeeze(2)


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

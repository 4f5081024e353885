"""A small network for dense tasks: an encoder of our own or timm's, a light feature pyramid, a head for each output."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.layers import Normalise, refuse_channels, refuse_too_small
from stalwart.models._dense_heads import Conv, head_of

Head = Literal["semantic", "detection", "instance"]
NEEDS: dict[str, tuple[Head, ...]] = {
    "semantic": ("semantic",),
    "detection": ("detection",),
    "instance": ("instance",),
    "panoptic": ("semantic", "instance"),
}
"""For each task the outputs that it cannot do without."""


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
    - `instance`: (B, K + 4 + 169 + 32, h, w), the same, and for each place the weights of a network that draws its
      object's mask, and the features it looks at (Tian, Shen and Chen, "Conditional convolutions for instance
      segmentation", ECCV 2020): 8 of each of the four quarters of a place, or of the place where `stride` is 2, which
      makes it 8 in place of 32.

    With several `heads` the one forward pass gives a dict of these tensors, and each task reads its own.
    """

    width: Annotated[int, at_least(4)] = 24
    """Channels of the encoder's first stage; each further one has twice as many, up to 8 times."""
    neck: Annotated[int, at_least(8)] = 64
    """Channels of the pyramid."""
    depth: Annotated[int, at_least(1)] = 2
    """Residual blocks of each stage."""
    stride: Literal[2, 4, 8, 16] = 2
    """Pixels of the image, in each direction, to a place of the head's map."""
    backbone: str = ""
    """One of timm's networks in place of our own encoder, by its name: 'resnet18', 'convnext_atto'. It must have
    features at `stride`; most have them from 2 or 4 on. `width` and `depth` are our own encoder's."""
    pretrained: bool = False
    """Begin with timm's weights of the backbone, and with the mean and standard deviation they were trained with.
    Fetched once; otherwise nothing is fetched."""
    heads: tuple[Head, ...] = ()
    """What one forward pass gives, as a dict by these names where they are several; () for what the task needs. A head
    that the task at hand does not train stays as it was drawn."""

    def __post_init__(self) -> None:
        if self.backbone:
            from stalwart.models.timm import timm  # seconds to import, so only where it is asked for

            timm.expect(self.backbone)
        if self.backbone and (self.width, self.depth) != (dense.width, dense.depth):
            raise SpellingError("dense: width and depth are of our own encoder. Got one of them beside a backbone.")
        if self.pretrained and not self.backbone:
            raise SpellingError("dense(pretrained=True) needs a backbone of timm's: our own encoder has no weights.")
        if len(set(self.heads)) < len(self.heads):
            raise SpellingError(f"dense(heads=...) must name each head once. Got {self.heads!r}.")

    def build(self, signature: Signature) -> nn.Module:
        """
        Raises:
            InputError: another task, or heads without what the task needs; images of this size or number of channels do
                not come through the backbone; or its weights are not at hand.
        """
        if signature.task not in NEEDS:
            raise InputError(f"dense serves the tasks {', '.join(NEEDS)}. Got {signature.task}.")
        needed = NEEDS[signature.task]
        heads = self.heads or needed
        if not set(needed) <= set(heads):
            raise InputError(f"dense(heads=...): {signature.task} needs {' and '.join(needed)}. Got {heads!r}.")
        if self.backbone:
            refuse_channels(self.backbone, signature.channels)
        model = _Dense(self, signature, heads)
        if self.backbone:
            refuse_too_small(f"dense(backbone={self.backbone!r})", model, signature.channels, signature.size)
        return model

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, _Dense)
        if not self.pretrained:
            model.normalise.fit(images)


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(before, after, 3, stride)
        self.second = Conv(after, after, 3, active=False)
        self.short = nn.Identity() if before == after and stride == 1 else Conv(before, after, 1, stride, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.short(x))


class _Dense(nn.Module):
    def __init__(self, made: dense, signature: Signature, heads: tuple[str, ...]) -> None:
        super().__init__()
        neck = made.neck
        self.backbone: nn.Module | None = None
        if made.backbone:
            from stalwart.models._dense_backbones import Backbone

            self.normalise = Normalise(3)  # grey images are laid in all three channels
            self.backbone = body = Backbone("dense", made.backbone, made.pretrained, signature, made.stride)
            if made.pretrained:
                self.normalise.set(tuple(body.about.mean), tuple(body.about.std))
            widths = body.widths
        else:
            self.normalise = Normalise(signature.channels)
            self.finest = made.stride.bit_length() - 2  # the first stage that the pyramid ends at
            widths = self._encode(signature.channels, made.width, made.depth)[self.finest :]
        self.scene = Conv(widths[-1], neck, 1)
        self.lateral = nn.ModuleList([Conv(channels, neck, 1, active=False) for channels in widths])
        self.smooth = nn.ModuleList([Conv(neck, neck) for _ in widths[:-1]])
        self.head = head_of(heads, neck, signature, made.stride)

    def _encode(self, channels: int, width: int, depth: int) -> list[int]:
        """Builds our own encoder; the channels of its four stages."""
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stem = Conv(channels, width, 3, 2)  # 1/2
        stages, before = [], width
        for number, after in enumerate(widths):
            blocks = [_Residual(before, after, 1 if number == 0 else 2)]
            blocks += [_Residual(after, after, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            before = after
        self.stages = nn.ModuleList(stages)  # 1/2, 1/4, 1/8, 1/16
        return widths

    def _levels(self, x: Tensor) -> list[Tensor]:
        """Features from the finest that the pyramid has to the coarsest."""
        if self.backbone is not None:
            found: list[Tensor] = self.backbone(x)
            return found
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[self.finest :]

    def forward(self, images: Tensor) -> Any:
        levels = self._levels(self.normalise(images))
        # What the whole scene is like goes to every place (Zhao et al., "Pyramid scene parsing network", CVPR 2017).
        top = self.lateral[-1](levels[-1]) + self.scene(levels[-1].mean((2, 3), keepdim=True))
        for number in range(len(levels) - 2, -1, -1):
            size = levels[number].shape[2:]
            up = F.interpolate(top, size, mode="bilinear", align_corners=False)
            top = self.smooth[number](F.relu(self.lateral[number](levels[number]) + up))
        return self.head(top, (images.shape[2], images.shape[3]))

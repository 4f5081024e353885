"""DeepLabV3 upon any timm network."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from stalwart.core.component import component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.core.layers import Normalise, refuse_channels, refuse_too_small


@component
class deeplabv3:
    """A map of classes by filters of several spreads side by side, upon one of timm's networks.

    Chen et al., "Rethinking atrous convolution for semantic image segmentation" (2017), with torchvision's head. For
    torchvision's own networks, and weights of the whole model, see `deeplabv3_resnet50()` and its like.
    """

    backbone: str
    """timm's name of the network: 'resnet18', 'mobilenetv3_large_100'. It must be one that timm can spread."""
    stride: Literal[8, 16] = 16
    """Pixels of the image, in each direction, to a place that the head sees; the network's filters are spread where it
    would halve any further. The head's spreads are 6, 12 and 18 places at 16, and twice as many at 8."""
    pretrained: bool = False
    """Begin with timm's weights of the network, and with the mean and standard deviation they were trained with.
    Fetched once; otherwise nothing is fetched."""

    def __post_init__(self) -> None:
        from stalwart.models.timm import timm  # seconds to import, so only where it is asked for

        timm.expect(self.backbone)

    def build(self, signature: Signature) -> nn.Module:
        """
        Raises:
            InputError: another task; images of this size or number of channels do not come through; timm cannot spread
                the network; or its weights are not at hand.
        """
        if signature.task != "semantic":
            raise InputError(f"deeplabv3 serves semantic. Got the task {signature.task}.")
        refuse_channels(self.backbone, signature.channels)
        model = _Map(self, signature)
        refuse_too_small(f"deeplabv3({self.backbone!r})", model, signature.channels, signature.size)
        return model

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, _Map)
        if not self.pretrained:
            model.normalise.fit(images)


class _Map(nn.Module):
    """Logits (B, K, H, W) of images (B, C, H, W); grey ones are laid in all three channels."""

    def __init__(self, made: deeplabv3, signature: Signature) -> None:
        super().__init__()
        from stalwart.models._dense_backbones import Backbone

        self.normalise = Normalise(3)
        self.backbone = Backbone("deeplabv3", made.backbone, made.pretrained, signature, made.stride, dilated=True)
        if made.pretrained:
            self.normalise.set(tuple(self.backbone.about.mean), tuple(self.backbone.about.std))
        once = 96 // made.stride
        self.head = DeepLabHead(self.backbone.widths[-1], signature.classes, (once, 2 * once, 3 * once))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(self.backbone(self.normalise(images))[-1])
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

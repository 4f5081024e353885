"""A small plain convolutional network for images of 8 to 64 pixels."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature
from stalwart.core.layers import Classifier


@component
class convnet:
    """Stages of two 3 × 3 convolutions with BatchNorm and ReLU, halving the image between stages, then the mean.

    In the manner of Simonyan and Zisserman, "Very deep convolutional networks" (ICLR 2015), with BatchNorm and a mean
    in place of the wide layers. It trains on a CPU in seconds and has no masking tricks: a fair subject for attacks.
    """

    width: Annotated[int, at_least(1)] = 16
    """Channels of the first stage; each further one has twice as many."""
    stages: Annotated[int, at_least(1)] = 3
    """Stages at most; fewer where the image would fall below 2 pixels."""

    def build(self, signature: Signature) -> nn.Module:
        layers: list[nn.Module] = []
        channels, shorter = signature.channels, min(signature.size)
        for stage in range(self.stages):
            if stage and shorter < 4:
                break
            if stage:
                layers.append(nn.MaxPool2d(2))
                shorter //= 2
            out = self.width * 2**stage
            for _ in range(2):
                layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, signature.classes)]
        return Classifier(signature.channels, nn.Sequential(*layers))

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, Classifier)
        model.normalise.fit(images)

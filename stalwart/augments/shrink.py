"""Smaller images in the first epochs: most of what a network learns early it learns as well from fewer pixels."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from stalwart.core.component import at_least, component
from stalwart.core.places import affine
from stalwart.core.rng import Noise


@component
class shrink:
    """Images are made smaller in the first `epochs` and left as they are afterwards. Not random.

    Progressive resizing (Howard, fast.ai's entry to DAWNBench 2018; Tan and Le, "EfficientNetV2", ICML 2021, section
    4.2). A convolution's cost falls with the area: at 24 pixels of 32, to 56 %. For networks that take images of any
    size. Stands last among the augmentations, so that the others see whole images; validation always does.
    """

    size: Annotated[int, at_least(1)] = 24
    """The shorter side in pixels; images that are smaller already stay."""
    epochs: Annotated[int, at_least(1)] = 1
    """For how many epochs."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        height, width = images.shape[2:]
        smaller = self._smaller((height, width), epoch)
        if smaller == (height, width):
            return images
        return F.interpolate(images, smaller, mode="bilinear", antialias=True).clamp_(0, 1)

    def placement(self, noise: Noise, epoch: int, size: tuple[int, int]) -> Tensor:
        height, width = self._smaller(size, epoch)
        return affine(len(noise), noise.keys.device, sx=size[1] / width, sy=size[0] / height)

    def _smaller(self, size: tuple[int, int], epoch: int) -> tuple[int, int]:
        """(height, width) of the output."""
        short = min(size)
        if epoch >= self.epochs or short <= self.size:
            return size
        return max(1, round(size[0] * self.size / short)), max(1, round(size[1] * self.size / short))

"""Scale jitter: each image larger or smaller, at a random place."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from stalwart.core import places
from stalwart.core.component import above, component
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

GREY = 0.5
"""What comes in where an image has become smaller than its frame."""


@component
class zoom:
    """Each image is scaled by a factor between `low` and `high` and laid at a random place of a frame of the old size.

    Large scale jitter (Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance
    segmentation", CVPR 2021), the factor's logarithm uniform. For dense tasks above all: masks and boxes move along.
    """

    low: Annotated[float, above(0)] = 0.5
    """The least factor."""
    high: Annotated[float, above(0)] = 2.0
    """The largest factor."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(f"zoom(low=...) must be at most high, {self.high:g}. Got {self.low:g}.")

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        size = (images.shape[2], images.shape[3])
        moved = places.move_images(images, self.placement(noise, epoch, size), size, GREY)
        return moved.clamp_(0, 1).contiguous(memory_format=_layout(images))

    def placement(self, noise: Noise, epoch: int, size: tuple[int, int]) -> Tensor:
        drawn = noise.fork("zoom", epoch)
        factor = drawn.uniform((), math.log(self.low), math.log(self.high)).exp()  # (B,)
        place = drawn.uniform((2,))  # (B, 2) where the frame lies, from one end to the other
        height, width = size
        # An output place x shows the input place x / factor + shift; the shift goes from 0 to width − width / factor.
        return places.affine(
            len(noise),
            noise.keys.device,
            sx=1 / factor,
            sy=1 / factor,
            dx=place[:, 0] * (width - width / factor),
            dy=place[:, 1] * (height - height / factor),
        )


def _layout(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format

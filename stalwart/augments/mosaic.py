"""Mosaic: four images meet at a random point of one."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from stalwart.core import places
from stalwart.core.component import Range, between, component
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

GREY = 0.5
"""What comes in where a smaller image does not fill its quarter."""


@component
class mosaic:
    """Each image and three others of the split, each at a scale of its own, with a corner at one random point.

    Bochkovskiy, Wang and Liao, "YOLOv4: optimal speed and accuracy of object detection" (2020), section 3.3. Objects
    are seen smaller, cut, and in other company. It stands first among the augmentations, and is for tasks whose targets
    have a place.
    """

    share: Annotated[float, between(0, 1)] = 1.0
    """The share of the images that become a mosaic; the others stay as they are."""
    low: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """The least scale of an image in it."""
    high: Annotated[float, Range(0, 1, open_low=True)] = 1.0
    """The largest scale; at 1 an image fills its quarter whatever the point."""
    middle: Annotated[float, between(0, 1)] = 0.5
    """The share of height and width, in the middle of the image, that the point is drawn from."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(f"mosaic(low=...) must be at most high, {self.high:g}. Got {self.low:g}.")

    def others(self, noise: Noise, epoch: int, count: int) -> Tensor:
        return noise.fork("mosaic others", epoch).integers(count, (3,))

    def frames(self, noise: Noise, epoch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The sample's own image is at a random one of the four places."""
        drawn, count, device = noise.fork("mosaic", epoch), len(noise), noise.keys.device
        height, width = size
        point = drawn.uniform((2,), 0.5 - self.middle / 2, 0.5 + self.middle / 2)
        x, y = (point[:, 0] * width).round(), (point[:, 1] * height).round()  # (B,) whole pixels
        scale = drawn.uniform((4,), math.log(self.low), math.log(self.high)).exp()
        turn = drawn.integers(4)
        whole = drawn.uniform() >= self.share
        placement, windows = [], []
        for number in range(4):
            quarter = (turn + number) % 4
            right, below = quarter % 2 == 1, quarter >= 2
            own = scale[:, number]
            # The output's place p shows the input's (p − corner) / scale.
            left = torch.where(right, x, x - own * width)
            top = torch.where(below, y, y - own * height)
            placement.append(places.affine(count, device, sx=1 / own, sy=1 / own, dx=-left / own, dy=-top / own))
            window = [
                torch.where(right, x, 0),
                torch.where(below, y, 0),
                torch.where(right, width, x),
                torch.where(below, height, y),
            ]
            windows.append(torch.stack(window, 1).long())
        maps, parts = torch.stack(placement, 1), torch.stack(windows, 1)
        alone = torch.zeros_like(parts)
        alone[:, 0] = torch.tensor([0, 0, width, height], device=device)
        maps = torch.where(whole[:, None, None, None], places.affine(1, device)[:, None], maps)
        return maps, torch.where(whole[:, None, None], alone, parts)

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        size = (images.shape[3], images.shape[4])
        maps, windows = self.frames(noise, epoch, size)
        shown = places.shown(windows, size)[:, :, None]  # (B, 4, 1, H, W)
        made = torch.full_like(images[:, 0], GREY)
        for number in range(images.shape[1]):
            moved = places.move_images(images[:, number], maps[:, number], size, GREY)
            made = torch.where(shown[:, number], moved, made)
        alone = (windows[:, 1:] == 0).flatten(1).all(1)[:, None, None, None]
        made = torch.where(alone, images[:, 0], made)  # to the bit: resampling at the same places rounds
        return made.clamp_(0, 1).contiguous(memory_format=_layout(images[:, 0]))


def _layout(images: Tensor) -> torch.memory_format:
    last = images.stride(1) == 1 and images.shape[1] > 1
    return torch.channels_last if last else torch.contiguous_format

"""A square of each image blotted out."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import Noise


@component
class cutout:
    """One square at a random place is filled with a flat colour. DeVries and Taylor 2017, "Improved regularization
    of convolutional neural networks with cutout".

    The square's centre is any pixel, every one alike, so that the square may reach over the border, as in the paper.
    """

    size: Annotated[int, at_least(1)] = 8
    """The square's side in pixels."""
    fill: Annotated[float, between(0, 1)] = 0.5
    """What fills it; the paper's zero comes after normalisation, which is near grey here."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        height, width = images.shape[2:]
        place = noise.fork("cutout", epoch).uniform((2,))  # (B, 2)
        rows = self._covered(place[:, 0], height)  # (B, H)
        columns = self._covered(place[:, 1], width)  # (B, W)
        return images.clone().masked_fill_(rows[:, None, :, None] & columns[:, None, None, :], self.fill)

    def _covered(self, place: Tensor, length: int) -> Tensor:
        """(B, length) bool: the pixels of one direction that the square covers."""
        first = (place * length).long().clamp(max=length - 1) - self.size // 2
        pixel = torch.arange(length, device=place.device)
        return (pixel >= first[:, None]) & (pixel < first[:, None] + self.size)

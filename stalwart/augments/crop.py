"""Random shifts: pad, then cut out a window of the old size at a random place."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from stalwart.core.component import at_least, component
from stalwart.core.errors import InputError
from stalwart.core.places import affine
from stalwart.core.rng import Noise
from stalwart.feed.pixels import take


@component
class crop:
    """Each image is shifted by −padding..padding pixels in both directions, every shift alike.

    The usual augmentation of CIFAR-10 (Krizhevsky 2012; with reflection as in airbench, Jordan 2024).
    """

    padding: Annotated[int, at_least(0)] = 4
    """The largest shift in pixels."""
    mode: Literal["reflect", "zero"] = "reflect"
    """What comes in at the border: the image mirrored, or black."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        """Raises InputError where the image is too small to be mirrored that far."""
        p = self.padding
        height, width = images.shape[2:]
        if self.mode == "reflect" and p >= min(height, width):
            raise InputError(
                f"crop(padding=...) must be smaller than the images' {height}×{width} pixels to be mirrored. Got {p}."
            )
        shift = self._shift(noise, epoch)
        rows = torch.arange(height, device=images.device) + shift[:, :1]  # (B, H)
        columns = torch.arange(width, device=images.device) + shift[:, 1:]  # (B, W)
        if self.mode == "reflect":
            return take(images, _mirror(rows, height), _mirror(columns, width))
        moved = take(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
        inside = _inside(rows, height)[:, None, :, None] & _inside(columns, width)[:, None, None, :]
        return moved * inside

    def placement(self, noise: Noise, epoch: int, size: tuple[int, int]) -> Tensor:
        shift = self._shift(noise, epoch)
        return affine(len(shift), shift.device, dx=shift[:, 1], dy=shift[:, 0])

    def _shift(self, noise: Noise, epoch: int) -> Tensor:
        """(B, 2) int64: rows and columns."""
        return noise.fork("crop", epoch).integers(2 * self.padding + 1, (2,)) - self.padding


def _mirror(place: Tensor, size: int) -> Tensor:
    """Reflection about the border pixels: −1 becomes 1, size becomes size − 2."""
    return (size - 1) - ((size - 1) - place.abs()).abs()


def _inside(place: Tensor, size: int) -> Tensor:
    return (place >= 0) & (place < size)

"""JPEG there and back, batched, as libjpeg does it with its defaults: ITU-T T.81 and T.871."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core.errors import InputError

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *([99] * 32),
)  # fmt: skip
"""ITU-T T.81, annex K, tables K.1 and K.2, row by row."""


Rounding = Callable[[Tensor, Tensor], Tensor]
"""(values, rounded) to what stands for the rounded: itself, or itself with the slope of the values."""


def _plain(values: Tensor, rounded: Tensor) -> Tensor:
    return rounded


@functools.cache
def compressor(quality: int) -> Compressor:
    """The compressor of a quality, 1 to 100."""
    return Compressor(quality)


class Compressor:
    """YCbCr, chroma halved in both directions, 8 × 8 DCT, quantisation, and back.

    Args:
        quality: libjpeg's, 1 to 100.
        rounding: how rounded values carry slopes; by default they do not.
    """

    def __init__(self, quality: int, rounding: Rounding = _plain) -> None:
        self.tables = (_table(_LUMA, quality), _table(_CHROMA, quality))
        self.cosines = _cosines()
        self.rounding = rounding

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] to the same."""
        height, width = images.shape[-2:]
        pixels = self._round(images.float() * 255)
        luma, chroma = (table.to(images.device) for table in self.tables)
        if images.shape[1] == 1:
            return self._squeeze(pixels, luma).div(255).to(images.dtype)
        if images.shape[1] != 3:
            raise InputError(f"JPEG needs images of 1 or 3 channels. Got {images.shape[1]}.")
        r, g, b = pixels.unbind(1)
        y = self._round(0.299 * r + 0.587 * g + 0.114 * b)
        cb = self._floor(-0.168735892 * r - 0.331264108 * g + 0.5 * b + 128.4999)
        cr = self._floor(0.5 * r - 0.418687589 * g - 0.081312411 * b + 128.4999)
        colours = torch.stack([cb, cr], 1)
        padded = F.pad(colours, (0, width % 2, 0, height % 2), mode="replicate")
        # libjpeg rounds halves up and down in turn, so that the mean does not drift.
        turn = (torch.arange(padded.shape[-1] // 2, device=images.device) % 2).float() * 0.25 + 0.25
        halved = self._squeeze(self._floor(F.avg_pool2d(padded, 2) + turn), chroma)
        # libjpeg's "fancy" upsampling is the triangle filter, 3/4 the near value and 1/4 the far one in each direction.
        full = F.interpolate(halved, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
        turn = 0.5 - (torch.arange(width, device=images.device) % 2).float() / 16
        cb, cr = (self._floor(full + turn) - 128).unbind(1)
        y = self._squeeze(y[:, None], luma)[:, 0]
        shifts = torch.stack([1.402 * cr, -0.344136286 * cb - 0.714136286 * cr, 1.772 * cb], 1)
        return (y[:, None] + self._round(shifts)).clamp(0, 255).div(255).to(images.dtype)

    def _squeeze(self, planes: Tensor, table: Tensor) -> Tensor:
        """(B, C, H, W) of 0..255 to the same, through the quantised DCT of 8 × 8 blocks."""
        height, width = planes.shape[-2:]
        padded = F.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate") - 128
        b, c, h, w = padded.shape
        blocks = padded.view(b, c, h // 8, 8, w // 8, 8).transpose(3, 4)  # (B, C, h/8, w/8, 8, 8)
        cosines = self.cosines.to(planes.device)
        eighths = self._floor(cosines @ blocks @ cosines.T * 8 + 0.5) / 8  # as fine as libjpeg's whole numbers are
        quantised = self._round(eighths / table) * table
        back = (cosines.T @ quantised @ cosines).transpose(3, 4).reshape(b, c, h, w)
        return (self._round(back) + 128)[..., :height, :width].clamp(0, 255)

    def _round(self, values: Tensor) -> Tensor:
        """To the nearest whole number, halves away from 0 (as libjpeg, also where float32 falls just short of one)."""
        rounded = values.sign() * (values.abs() + (0.5 + 1e-4)).floor()
        return self.rounding(values, rounded)

    def _floor(self, values: Tensor) -> Tensor:
        return self.rounding(values, values.floor())


def _table(base: tuple[int, ...], quality: int) -> Tensor:
    """The quantisation steps (8, 8) as libjpeg scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor([min(max((entry * scale + 50) // 100, 1), 255) for entry in base]).float().view(8, 8)


def _cosines() -> Tensor:
    """The orthonormal DCT-II (8, 8): row k holds frequency k."""
    rows = [[math.cos((2 * n + 1) * k * math.pi / 16) / 2 for n in range(8)] for k in range(8)]
    return torch.tensor([[value * math.sqrt(0.5) for value in rows[0]], *rows[1:]])

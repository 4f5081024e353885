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


_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_FROM_CC = ((0.0, 1.402), (-0.344136286, -0.714136286), (1.772, 0.0))
"""T.871: red, green and blue to Y, Cb − 128 and Cr − 128, and from the latter two what is added to Y."""

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
        self.cosines = torch.kron(_cosines(), _cosines()).float()  # of both directions: one product for a block
        self.colours = torch.tensor(_TO_YCC)
        self.shifts = torch.tensor(_FROM_CC)
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
        colours = self.colours.to(images.device)
        planes = torch.matmul(colours, pixels.flatten(2)).view_as(pixels)  # one product for all three
        y = self._round(planes[:, :1])
        chromas = _padded(self._floor(planes[:, 1:] + 128.4999), 2)
        rows = chromas[..., ::2, :] + chromas[..., 1::2, :]
        # libjpeg rounds halves up and down in turn, so that the mean does not drift.
        turn = (torch.arange(rows.shape[-1] // 2, device=images.device) % 2).float() * 0.25 + 0.25
        halved = self._squeeze(self._floor((rows[..., ::2] + rows[..., 1::2]).mul_(0.25).add_(turn)), chroma)
        # libjpeg's "fancy" upsampling is the triangle filter, 3/4 the near value and 1/4 the far one in each direction.
        full = F.interpolate(halved, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
        turn = 0.5 - 128 - (torch.arange(width, device=images.device) % 2).float() / 16
        shifts = torch.matmul(self.shifts.to(images.device), self._floor(full + turn).flatten(2)).view_as(pixels)
        return (self._squeeze(y, luma) + self._round(shifts)).clamp_(0, 255).div_(255).to(images.dtype)

    def _squeeze(self, planes: Tensor, table: Tensor) -> Tensor:
        """(B, C, H, W) of 0..255 to the same, through the quantised DCT of 8 × 8 blocks."""
        height, width = planes.shape[-2:]
        padded = _padded(planes, 8) - 128
        b, c, h, w = padded.shape
        blocks = padded.view(b, c, h // 8, 8, w // 8, 8).transpose(3, 4).reshape(-1, 64)  # (B · C · h/8 · w/8, 64)
        cosines = self.cosines.to(planes.device)
        eighths = self._floor((blocks @ cosines.T).mul_(8).add_(0.5))  # as fine as libjpeg's whole numbers are
        steps = table.flatten()
        quantised = self._round(eighths * (0.125 / steps)) * steps
        back = self._round(quantised @ cosines).view(b, c, h // 8, w // 8, 8, 8).transpose(3, 4).reshape(b, c, h, w)
        return back[..., :height, :width].add(128).clamp_(0, 255)

    def _round(self, values: Tensor) -> Tensor:
        """To the nearest whole number, halves away from 0 (as libjpeg, also where float32 falls just short of one)."""
        rounded = values.abs().add_(0.5 + 1e-4).floor_().copysign_(values)
        return self.rounding(values, rounded)

    def _floor(self, values: Tensor) -> Tensor:
        return self.rounding(values, values.floor())


def _padded(planes: Tensor, step: int) -> Tensor:
    """The planes with their last row and column repeated until height and width are multiples of `step`."""
    height, width = planes.shape[-2:]
    if height % step == 0 and width % step == 0:
        return planes  # to copy them is as slow as the transform
    return F.pad(planes, (0, -width % step, 0, -height % step), mode="replicate")


def _table(base: tuple[int, ...], quality: int) -> Tensor:
    """The quantisation steps (8, 8) as libjpeg scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor([min(max((entry * scale + 50) // 100, 1), 255) for entry in base]).float().view(8, 8)


def _cosines() -> Tensor:
    """The orthonormal DCT-II (8, 8) in float64: row k holds frequency k."""
    rows = [[math.cos((2 * n + 1) * k * math.pi / 16) / 2 for n in range(8)] for k in range(8)]
    return torch.tensor([[value * math.sqrt(0.5) for value in rows[0]], *rows[1:]], dtype=torch.float64)

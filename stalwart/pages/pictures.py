"""Pictures inside a page, as PNG in data URIs."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image
from torch import Tensor

LONGEST = 128
"""Pixels of a shown picture's longer side; larger ones are brought to it."""


def png(image: Tensor) -> str:
    """A data URI of `image` (C, H, W) uint8 with 1 or 3 channels, as small as can be.

    Raises:
        ValueError: another shape or type.
    """
    return "data:image/png;base64," + base64.b64encode(png_file(image, optimize=True)).decode()


def png_file(image: Tensor, *, optimize: bool = False) -> bytes:
    """What a PNG file of `image` holds.

    Raises:
        ValueError: another shape or type.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3) or not image.numel():
        raise ValueError(f"a picture must be (1 or 3, H, W) uint8. Got {tuple(image.shape)} {image.dtype}.")
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels[..., 0] if image.shape[0] == 1 else pixels)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=optimize)
    return file.getvalue()


def factor(clean: Tensor, adversarial: Tensor) -> int:
    """By how much differences must be multiplied to use half the range of grey, at least 1."""
    largest = int((adversarial.int() - clean.int()).abs().max()) if clean.numel() else 0
    return max(1, 127 // largest) if largest else 1


def difference(clean: Tensor, adversarial: Tensor, times: int) -> Tensor:
    """The change, `times` as large, around mid-grey: uint8 of the images' shape."""
    return ((adversarial.int() - clean.int()) * times + 128).clamp(0, 255).to(torch.uint8)


def reduced(image: Tensor, *, sharp: bool) -> Tensor:
    """The picture with its longer side at most `LONGEST`.

    Args:
        sharp: take single pixels in place of means; noise would average out to grey.
    """
    height, width = image.shape[-2:]
    longer = max(height, width)
    if longer <= LONGEST:
        return image
    size = (max(1, height * LONGEST // longer), max(1, width * LONGEST // longer))
    if sharp:
        return torch.nn.functional.interpolate(image[None], size, mode="nearest")[0]
    means = torch.nn.functional.interpolate(image[None].float(), size, mode="area")[0]
    return means.round().clamp(0, 255).to(torch.uint8)

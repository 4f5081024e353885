"""Random changes of light and colour."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import Noise

_GREY = (0.299, 0.587, 0.114)
"""ITU-R 601 luma of red, green and blue."""


@component
class colour:
    """Brightness, contrast, saturation and hue of each image, changed at random in this order.

    Factors are uniform in [max(0, 1 − x), 1 + x], as in torchvision's ColorJitter (whose order is random). Hue is
    turned about the grey axis of the YIQ colour space. Grey images keep saturation and hue.
    """

    brightness: Annotated[float, at_least(0)] = 0.2
    """The widest change of the factor on all pixels."""
    contrast: Annotated[float, at_least(0)] = 0.2
    """The widest change of the factor on the distance from the image's mean grey."""
    saturation: Annotated[float, at_least(0)] = 0.2
    """The widest change of the factor on the distance from each pixel's grey."""
    hue: Annotated[float, between(0, 0.5)] = 0.0
    """The widest turn, as a share of the colour circle."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        draws = noise.fork("colour", epoch).uniform((4,))  # (B, 4)
        rgb = images.shape[1] == 3
        if self.brightness:
            images = (images * _factor(draws[:, 0], self.brightness)).clamp_(0, 1)
        if self.contrast:
            # In double precision, so that the mean does not hang on how the batch's sums are ordered.
            mean = _grey(images).flatten(1).double().mean(1).to(images.dtype)[:, None, None, None]
            images = torch.lerp(mean, images, _factor(draws[:, 1], self.contrast)).clamp_(0, 1)
        if self.saturation and rgb:
            images = torch.lerp(_grey(images), images, _factor(draws[:, 2], self.saturation)).clamp_(0, 1)
        if self.hue and rgb:
            images = _turned(images, (draws[:, 3] * 2 - 1) * self.hue * (2 * math.pi)).clamp_(0, 1)
        return images


def _factor(draw: Tensor, width: float) -> Tensor:
    """(B, 1, 1, 1)"""
    low = max(0.0, 1.0 - width)
    return (draw * (1.0 + width - low) + low)[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    """(B, 1, H, W)"""
    if images.shape[1] != 3:
        return images[:, :1]
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]


def _turned(images: Tensor, angle: Tensor) -> Tensor:
    """Each image's colours turned by its angle (B,) in radians; grey stays as it is."""
    red, green, blue = images.unbind(1)  # (B, H, W)
    luma = red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]
    i = 0.595716 * red - 0.274453 * green - 0.321263 * blue
    q = 0.211456 * red - 0.522591 * green + 0.311135 * blue
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    i, q = i * cos - q * sin, i * sin + q * cos
    turned = (
        luma + 0.956296 * i + 0.621024 * q,
        luma - 0.272122 * i - 0.647380 * q,
        luma - 1.106989 * i + 1.704614 * q,
    )
    return torch.empty_like(images).copy_(torch.stack(turned, 1))

"""Layers that every family of models shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stalwart.core.errors import InputError


class Normalise(nn.Module):
    """(x − mean) / std for each channel: the model's first layer, so that pixels are [0, 1] everywhere else."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take mean and standard deviation from images (B, C, H, W) in [0, 1]."""
        self.mean.copy_(images.mean((0, 2, 3))[:, None, None])
        self.std.copy_(images.std((0, 2, 3)).clamp_min(1e-3)[:, None, None])

    def set(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Take the values that pretrained weights were trained with."""
        self.mean.copy_(torch.tensor(mean)[:, None, None])
        self.std.copy_(torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """Normalisation and a network, as one module that takes pixels and gives logits."""

    def __init__(self, channels: int, net: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(self.normalise(images))
        return logits


def refuse_channels(name: str, channels: int) -> None:
    """Refuse what a network made for colours is not given: grey images are laid in all three channels.

    Raises:
        InputError: neither 1 nor 3 channels.
    """
    if channels not in (1, 3):
        raise InputError(f"{name} takes images of 1 or 3 channels. Got {channels}.")


def refuse_too_small(name: str, model: nn.Module, channels: int, size: tuple[int, int]) -> None:
    """Try the model on one empty image.

    Raises:
        InputError: images of this size do not come through its layers.
    """
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name} cannot take images of {size[0]} × {size[1]} pixels: {reason}") from None
    finally:
        model.train(training)

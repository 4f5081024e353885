"""A small network for small images that learns in seconds: a whitened first layer, few layers, bias-only norms."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature


@component
class fastnet:
    """Fixed 2 × 2 patch whitening, then blocks of convolution, pooling, norm, GELU, convolution, norm, GELU.

    After Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024): whitened patches as a fixed first layer
    (from Page, "How to train your ResNet 8: bag of tricks", 2019), convolutions that begin as the identity, BatchNorm
    with a bias and no scale, a head whose logits are divided by its width. Train it with
    `muon(lr=0.24, bias_lr=26.5, head_lr=335, decay=0.001)` at batch 500, a straight fall of the rate
    (`triangle(peak=0)`), `clean(smoothing=0.2)`, and `(crop(2), altflip())`: the learning rates are large because the
    loss is a mean and the head is divided by its width.
    """

    widths: tuple[Annotated[int, at_least(1)], ...] = (32, 64, 128)
    """Channels of each block; a block halves the image while it has 4 pixels or more."""

    def build(self, signature: Signature) -> nn.Module:
        return _FastNet(self.widths, signature)

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        """Take the whitening from training images; the normalisation is folded into it."""
        assert isinstance(model, _FastNet)
        model.whiten.fit(images)


class _Whiten(nn.Module):
    """k × k patches turned so that their entries are uncorrelated and of unit variance, each with its mirror image.

    No parameters: nothing flows back through it in training, which spares the largest layer's gradient.
    GELU(−y) = GELU(y) − y, so half of the filters and of the activations give the other half.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, k: int = 2) -> None:
        super().__init__()
        filters = channels * k * k
        self.register_buffer("weight", torch.eye(filters).view(filters, channels, k, k))
        self.register_buffer("bias", torch.zeros(filters))
        self.out_channels = 2 * filters

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        filters, _, k, _ = self.weight.shape
        patches = images.float().unfold(2, k, 1).unfold(3, k, 1)  # (B, C, H', W', k, k)
        patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, filters).double()
        mean = patches.mean(0)
        # In units of the images' spread, so that the floor below means the same for every data set.
        spread = images.double().std().clamp_min(1e-3)
        scaled = (patches - mean) / spread
        values, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        whiten = (vectors / (values + 5e-4).sqrt()).T / spread  # rows are filters
        self.weight.copy_(whiten.float().view_as(self.weight))
        self.bias.copy_(-(whiten @ mean).float())

    def forward(self, images: Tensor) -> Tensor:
        y = F.conv2d(images, self.weight, self.bias)
        active = F.gelu(y)
        return torch.cat((active, active - y), 1)


class _Block(nn.Module):
    def __init__(self, before: int, channels: int, pool: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = _identity(before, channels), _bias_norm(channels)
        self.conv2, self.norm2 = _identity(channels, channels), _bias_norm(channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.pool:  # before the norm: a quarter of its work
            x = F.max_pool2d(x, 2)
        x = F.gelu(self.norm1(x))
        return F.gelu(self.norm2(self.conv2(x)))


class _FastNet(nn.Module):
    def __init__(self, widths: tuple[int, ...], signature: Signature) -> None:
        super().__init__()
        self.whiten = _Whiten(signature.channels)
        before, shorter = self.whiten.out_channels, min(signature.size) - 1
        blocks = []
        for width in widths:
            pool = shorter >= 4
            blocks.append(_Block(before, width, pool))
            before, shorter = width, shorter // 2 if pool else shorter
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, signature.classes, bias=False)
        with torch.no_grad():
            self.head.weight.div_(self.head.weight.std())

    def forward(self, images: Tensor) -> Tensor:
        x = F.adaptive_max_pool2d(self.blocks(self.whiten(images)), 1).flatten(1)
        logits: Tensor = self.head(x) / x.shape[1]
        return logits


def _identity(before: int, channels: int) -> nn.Conv2d:
    """A 3 × 3 convolution that begins by passing its first inputs on."""
    conv = nn.Conv2d(before, channels, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:before])
    return conv


def _bias_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm

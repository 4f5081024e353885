"""Thermometer coding."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from stalwart.core.component import between, component
from stalwart.core.shielding import Shielded, straight_through


@component
class thermometer:
    """Each value becomes `levels` bits, bit k on where the value passes k / levels; a 1 × 1 convolution reads the code.

    Buckman et al., "Thermometer encoding: one hot way to resist adversarial examples" (ICLR 2018), section 3. The paper
    trains a network on the code. Around a model that is trained already, the reader's weights are all 1 / levels and it
    decodes, so the model sees the image rounded to levels + 1 values: the same as `bitdepth`, and no more than that.
    The paper's form would be had by training through it, which is not offered yet.

    Masking: a bit has no slope. The twin's slope is that of a code with ramps in place of steps, as in Athalye et al.
    (ICML 2018), section 5.2.1.
    """

    masks: ClassVar[bool] = True

    levels: Annotated[int, between(2, 255)] = 16
    """Bits a value is coded by."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Coded(model, self.levels)


class _Coded(Shielded):
    bars: Tensor

    def __init__(self, inner: nn.Module, levels: int) -> None:
        super().__init__(inner)
        self.levels = levels
        self.register_buffer("bars", (torch.arange(levels) + 0.5) / levels, persistent=False)
        self.reader = nn.Parameter(torch.full((levels,), 1.0 / levels))
        first = next(inner.parameters(), None)
        if first is not None:
            self.to(first.device)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W, levels) of zeros and ones; as many are on as the value reaches."""
        return (images[..., None] > self.bars).to(images.dtype)

    def ramp(self, images: Tensor) -> Tensor:
        """The code with a ramp of one level's width for each step."""
        return ((images[..., None] - self.bars) * self.levels + 0.5).clamp(0, 1)

    def defend(self, images: Tensor) -> Tensor:
        return self.encode(images) @ self.reader.to(images.dtype)

    def soften(self, images: Tensor) -> Tensor:
        return straight_through(self.ramp(images), self.encode(images)) @ self.reader.to(images.dtype)

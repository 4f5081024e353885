"""A median filter."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import between, component
from stalwart.core.errors import SpellingError
from stalwart.core.shielding import Shielded


@component
class median:
    """Each value becomes the median of its channel's size × size neighbourhood; edges are reflected.

    Xu, Evans and Qi, "Feature squeezing" (NDSS 2018), section III-B. Masking: nearly every pixel of a neighbourhood has
    no slope, and which one has changes from step to step. The twin uses the median's own slope, which goes to the
    pixel that was chosen.
    """

    masks: ClassVar[bool] = True

    size: Annotated[int, between(3, 15)] = 3
    """Side of the neighbourhood in pixels; odd."""

    def __post_init__(self) -> None:
        if self.size % 2 == 0:
            raise SpellingError(f"median(size=...) must be odd. Got {self.size}.")

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Filtered(model, self.size)


class _Filtered(Shielded):
    def __init__(self, inner: nn.Module, size: int) -> None:
        super().__init__(inner)
        self.size = size

    def defend(self, images: Tensor) -> Tensor:
        padded = F.pad(images, (self.size // 2,) * 4, mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)  # (B, C, H, W, size²)
        return windows.median(-1).values

    def soften(self, images: Tensor) -> Tensor:
        return self.defend(images)

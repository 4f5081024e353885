"""JPEG compression."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from stalwart.core.component import between, component
from stalwart.core.jpeg import Compressor
from stalwart.core.shielding import Shielded, straight_through


@component
class jpeg:
    """Each image goes through JPEG and back, batched on the model's device, as libjpeg does it with its defaults.

    Dziugaite, Ghahramani and Roy, "A study of the effect of JPG compression on adversarial images" (2016); Das et al.
    (2017). YCbCr, chroma halved in both directions, 8 × 8 DCT, quantisation, and back (ITU-T T.81 and T.871).

    Masking: rounding has no slope. The twin passes gradients straight through each rounding and keeps the rest.
    """

    masks: ClassVar[bool] = True

    quality: Annotated[int, between(1, 100)] = 75
    """libjpeg's quality."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Compressed(model, self.quality)


class _Compressed(Shielded):
    def __init__(self, inner: nn.Module, quality: int) -> None:
        super().__init__(inner)
        self.plain, self.smooth = Compressor(quality), Compressor(quality, straight_through)

    def defend(self, images: Tensor) -> Tensor:
        return self.plain(images)

    def soften(self, images: Tensor) -> Tensor:
        return self.smooth(images)

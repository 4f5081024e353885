"""Random mirroring."""

from __future__ import annotations

from torch import Tensor

from stalwart.core.component import component
from stalwart.core.rng import Noise
from stalwart.feed.pixels import mirror


@component
class flip:
    """Each image is mirrored left to right with probability one half."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        flipped = noise.fork("flip", epoch).bits(()) < 0  # (B,)
        return mirror(images, flipped)

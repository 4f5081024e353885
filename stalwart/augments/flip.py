"""Random mirroring."""

from __future__ import annotations

from torch import Tensor

from stalwart.core.component import component
from stalwart.core.places import mirrored
from stalwart.core.rng import Noise
from stalwart.feed.pixels import mirror


@component
class flip:
    """Each image is mirrored left to right with probability one half."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        return mirror(images, self._flipped(noise, epoch))

    def placement(self, noise: Noise, epoch: int, size: tuple[int, int]) -> Tensor:
        return mirrored(self._flipped(noise, epoch), size[1])

    def _flipped(self, noise: Noise, epoch: int) -> Tensor:
        """(B,) bool."""
        return noise.fork("flip", epoch).bits(()) < 0

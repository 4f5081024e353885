"""What a training step sees, and how augmentations change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from stalwart.core.rng import Noise


@dataclass(frozen=True)
class Batch:
    """What a training step sees."""

    images: Tensor
    """(B, C, H, W) float in [0, 1], augmented, on the training device."""
    targets: Any
    """The task's collated targets; (B,) int64 for classification."""
    index: Tensor
    """(B,) int64 positions in the split."""
    noise: Noise
    """Random numbers of these samples in this epoch, whatever the batch's make-up."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What an objective that `carries` left at these places of the batch in the step before, and may replace: tensors
    with one row for each sample. The trainer saves it, so that a resumed run finds it again."""


@runtime_checkable
class Augment(Protocol):
    """A random change of training images, drawn for each sample from its own noise."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        """(B, C, H, W) float in [0, 1] to the same range, layout and (unless its purpose is another) size.

        `images` itself is not written to.

        Args:
            noise: the samples' own numbers, the same in every epoch: `noise.fork(NAME, epoch)` gives an epoch's.
            epoch: counted from 0.
        """
        ...


@runtime_checkable
class Moving(Augment, Protocol):
    """An augmentation that moves pixels: targets that have a place in the image move along.

    Places are continuous: x to the right and y downwards in pixels, an image spans [0, width] × [0, height], and the
    first pixel's centre is (0.5, 0.5).
    """

    def placement(self, noise: Noise, epoch: int, size: tuple[int, int]) -> Tensor:
        """(B, 2, 3) float32: the affine map from a place (x, y, 1) in the output to what it shows of the input.

        Args:
            noise, epoch: what the call with the images gets.
            size: (height, width) of the input.
        """
        ...


@runtime_checkable
class Composing(Protocol):
    """An augmentation that makes one image of several. The others are drawn from the whole split by the sample's own
    noise, so that what a sample becomes does not hang on its batch; for tasks whose targets have a place."""

    def others(self, noise: Noise, epoch: int, count: int) -> Tensor:
        """(B, m − 1) int64 in 0..count − 1: the rows of the split that each sample takes in, after its own."""
        ...

    def frames(self, noise: Noise, epoch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(B, m, 2, 3) float32 placements (`Moving.placement`), and (B, m, 4) int64 windows: of each image the left,
        top, right and bottom of the part of the output that shows it. Windows do not overlap."""
        ...

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        """Images (B, m, C, H, W) in [0, 1], each sample's own first, to (B, C, H, W)."""
        ...

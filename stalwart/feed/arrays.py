"""Examples that live in memory at one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stalwart.core.contracts import Info, Sample
from stalwart.core.errors import ContractError


class ArrayExamples:
    """One split as a uint8 tensor (N, C, H, W) and its class indices.

    Args:
        info: what the source tells of itself.
        images: (N, C, H, W) uint8.
        targets: N class indices.
        stem: what samples are called by, before their number: ``'cifar10 test'`` gives ``'cifar10 test 17'``.

    Raises:
        ContractError: images and targets do not fit together or the info.
    """

    def __init__(self, info: Info, images: Tensor, targets: Sequence[int], stem: str) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != info.channels:
            raise ContractError(
                f"{stem}: images must be uint8 (N, {info.channels}, H, W). Got {images.dtype} {tuple(images.shape)}."
            )
        if len(targets) != len(images):
            raise ContractError(f"{stem}: expected {len(images)} targets, one an image. Got {len(targets)}.")
        self._info = info
        self._images = images
        self._targets = list(targets)
        self._stem = stem

    @property
    def info(self) -> Info:
        return self._info

    @property
    def strata(self) -> Sequence[int]:
        return self._targets

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Sample:
        target = self._targets[index]  # raises IndexError past the end, which ends a loop over the examples
        return Sample(self._images[index].clone(), target, f"{self._stem} {index % len(self)}")

    def arrays(self) -> tuple[Tensor, Sequence[int]]:
        return self._images, self._targets

"""Reads samples for batches: every image at one size and number of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stalwart.core.contracts import Examples, Placed
from stalwart.core.errors import DataError, InputError
from stalwart.core.places import fitted
from stalwart.feed.decode import fit
from stalwart.feed.shelf import Shelf


class Reader:
    """Reads single samples and, as a map from a batch's positions to its images, whole batches in loading workers.

    Args:
        size: (height, width) to bring images to; None: they must share one, the info's or that of the first image.
        task: moves the targets along, where they have places in the image: images are then brought to size whole,
            with a border, and not cut.
        skip_bad: look further for the first image where it cannot be read.

    Raises:
        DataError: the first image cannot be read.
    """

    def __init__(
        self,
        examples: Examples,
        size: tuple[int, int] | None,
        channels: int | None,
        layout: torch.memory_format,
        skip_bad: bool,
        task: Placed | None = None,
    ) -> None:
        if size is not None and min(size) < 1:
            raise InputError(f"size must be at least 1×1 pixels. Got {size!r}.")
        self.examples, self.task = examples, task
        self.channels = examples.info.channels if channels is None else channels
        self.last = layout == torch.channels_last
        self.resize = size is not None
        self.size = size or examples.info.size
        position = 0
        while self.size is None and position < len(examples):
            try:
                height, width = examples[position].image.shape[1:]
                self.size = (height, width)
            except DataError:
                if not skip_bad:
                    raise
            position += 1

    def fits(self, images: Tensor) -> bool:
        """Whether images (N, C, H, W) need no change."""
        return tuple(images.shape[1:]) == (self.channels, *(self.size or ()))

    def room(self, n: int, shelf: Shelf | None = None) -> Tensor:
        """Empty uint8 for n images, in memory or on the shelf: (n, H, W, C) for channels_last, else (n, C, H, W)."""
        assert self.size is not None
        shape = (*self.size, self.channels) if self.last else (self.channels, *self.size)
        return torch.empty((n, *shape), dtype=torch.uint8) if shelf is None else shelf.room((n, *shape))

    def read(self, position: int) -> tuple[Tensor, Any]:
        """One image in its layout, and its target.

        Raises:
            DataError: the file cannot be read, or is of another size than the rest; it names the file.
        """
        sample = self.examples[position]
        image = sample.image
        if not self.resize and tuple(image.shape[1:]) != self.size:
            assert self.size is not None
            raise DataError(
                f"{sample.name}: expected {self.size[0]}×{self.size[1]} pixels (height × width) like the rest. "
                f"Got {image.shape[1]}×{image.shape[2]}. Give a size to bring all images to it."
            )
        target, before = sample.target, (image.shape[1], image.shape[2])
        image = fit(image, self.size, self.channels, whole=self.task is not None)
        if self.task is not None and self.size is not None and before != self.size:
            target = self.task.place(target, fitted(before, self.size, whole=True), self.size)
        return (image.permute(1, 2, 0) if self.last else image), target

    def try_read(self, position: Any) -> tuple[Tensor | None, Any, str]:
        """Image and target, or what went wrong in one line: an exception would cross threads and processes badly."""
        try:
            return *self.read(int(position)), ""
        except DataError as error:
            return None, None, str(error)

    def __getitem__(self, positions: Sequence[int]) -> tuple[Tensor, list[Any], str]:
        """A batch's images and targets in the order of `positions`, and what went wrong ('' if nothing)."""
        images = self.room(len(positions))
        targets = []
        for row, position in enumerate(positions):
            image, target, trouble = self.try_read(position)
            if image is None:
                return images, [], trouble
            images[row] = image
            targets.append(target)
        return images, targets, ""

    def __len__(self) -> int:
        return len(self.examples)

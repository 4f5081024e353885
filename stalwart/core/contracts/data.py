"""What is read: a source, its splits, their samples and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Info:
    """What a source tells of itself."""

    name: str
    """Short name of the data set, as reports print it."""
    classes: tuple[str, ...]
    """Class names in the order of their indices."""
    licence: str
    """The data's licence, or 'unknown'."""
    origin: str
    """Where the data come from: a paper, a publisher or a folder."""
    channels: int = 3
    """1 for grey, 3 for RGB."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels where all images share it, else None."""


@dataclass(frozen=True)
class Sample:
    """One example as it lies on disk: uint8 image (C, H, W), its target, and a name to call it by."""

    image: Tensor
    target: Any
    name: str


@dataclass(frozen=True)
class Objects:
    """The objects in one image. Places are continuous pixels: (0, 0) is the image's upper left corner."""

    boxes: Tensor
    """(n, 4) float32: left, top, right, bottom."""
    labels: Tensor
    """(n,) int64 class indices."""
    masks: Tensor | None = None
    """(n, H, W) bool, each object's visible pixels; None where the data have boxes alone."""
    crowd: Tensor | None = None
    """(n,) bool: a region of many objects, which is neither learned nor counted against a prediction; None: none is."""
    semantic: Tensor | None = None
    """(H, W) uint8: the class of each pixel of the image, whatever it belongs to, 255 where it counts for nothing; None
    where the data have none."""

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class Examples(Protocol):
    """One split of a source: a sequence of samples, decoded when asked for."""

    @property
    def info(self) -> Info: ...

    @property
    def strata(self) -> Sequence[int]:
        """For each sample the group to keep in proportion when the split is divided (its class), without decoding."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError, which names the file, when the sample cannot be read."""
        ...

    def arrays(self) -> tuple[Tensor, Sequence[Any]] | None:
        """All images (N, C, H, W) uint8 and targets where the split lives in memory at one size, else None."""
        ...


@dataclass(frozen=True)
class Trouble:
    """What is odd about a label."""

    kind: str
    """In two or three words, the same for all of a kind: 'box outside', 'empty mask'."""
    message: str
    """One line that names the file and the place in it."""
    fatal: bool
    """Whether the sample is refused for it; else it is read without it or with it mended."""


@runtime_checkable
class Inspected(Examples, Protocol):
    """Examples that tell what is odd about labels rather than refusing the first."""

    def inspect(self, index: int) -> tuple[Sample, Sequence[Trouble]]:
        """The sample with all labels that could be made out, and what is odd about the others.

        Raises:
            DataError: there is nothing to be made out, as where the image cannot be read.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """A data set as the user names it: ``cifar10(root='data')``."""

    def splits(self) -> tuple[str, ...]:
        """The splits at hand, among 'train', 'val' and 'test'. Raises DataError when the data are not there."""
        ...

    def open(self, split: str) -> Examples: ...

"""Which published constants an image takes."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

T = TypeVar("T")

SEVERITIES = (1, 2, 3, 4, 5)
SMALL = 85
"""Images of a shorter side below this take the constants for 32 pixels, others those for 224: it is their geometric
mean."""


def constants(images: Tensor, severity: int, small: list[T], large: list[T]) -> T:
    """The constants of a severity for images of this size."""
    return (small if min(images.shape[-2:]) < SMALL else large)[severity - 1]

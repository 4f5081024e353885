"""One look at a sample: its labels, its size, and what tells whether the same picture comes again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core.contracts import Examples, Inspected, Objects, Sample, Trouble
from stalwart.core.errors import DataError

SIDE = 16
"""Height and width of the thumbnails that are compared."""
FLAT = 2.0
"""Levels of grey (standard deviation) below which a thumbnail shows nothing to compare."""


@dataclass(frozen=True)
class Look:
    """What was seen of one sample."""

    name: str
    size: tuple[int, int] | None = None
    """(height, width); None where it cannot be read."""
    digest: bytes = b""
    """Of the decoded pixels, so that a copy in another format or with other metadata is found too."""
    thumbnail: Tensor | None = None
    """(256,) of mean 0 and length 1; None where it is flat."""
    counts: Counter[int] = field(default_factory=Counter)
    """For each class its objects, its pixels, or the image itself."""
    answer: str = ""
    """The class of an image that has one."""
    troubles: Sequence[Trouble] = ()


def look(examples: Examples, index: int) -> Look:
    """Whatever is wrong with the sample is told, not raised."""
    try:
        sample, troubles = inspected(examples, index)
    except DataError as error:
        return Look("", troubles=(Trouble("unreadable", str(error), True),))
    image, classes = sample.image, examples.info.classes
    found, strange = _counts(sample.target, len(classes))
    told = list(troubles)
    told += [Trouble("unknown class", f"{sample.name}: expected a class of 0 to {len(classes) - 1}. Got {odd}.", True)
             for odd in strange]  # fmt: skip
    if not found and not told:
        told.append(Trouble("no labels", f"{sample.name}: nothing on it is labelled.", False))
    shape = f"{tuple(image.shape)}".encode()
    return Look(
        name=sample.name,
        size=(image.shape[1], image.shape[2]),
        digest=hashlib.blake2b(image.contiguous().numpy().tobytes() + shape, digest_size=16).digest(),
        thumbnail=_thumbnail(image),
        counts=found,
        answer=classes[sample.target] if isinstance(sample.target, int) and found else "",
        troubles=told,
    )


def inspected(examples: Examples, index: int) -> tuple[Sample, Sequence[Trouble]]:
    """A sample with all that can be made out of it, and what is odd about it.

    Raises:
        DataError: it cannot be read.
    """
    return examples.inspect(index) if isinstance(examples, Inspected) else (examples[index], ())


def unit(target: Any) -> str:
    """What classes are counted in."""
    return "objects" if isinstance(target, Objects) else "pixels" if isinstance(target, Tensor) else "images"


def _counts(target: Any, classes: int) -> tuple[Counter[int], list[int]]:
    """How often each class is there, and what is no class."""
    if isinstance(target, Objects):
        return Counter(target.labels.tolist()), []
    if isinstance(target, Tensor) and target.ndim == 2:
        pixels = torch.bincount(target.flatten().long(), minlength=classes)[:classes]
        return Counter({index: int(n) for index, n in enumerate(pixels) if n}), []
    if isinstance(target, int):
        return (Counter({target: 1}), []) if 0 <= target < classes else (Counter(), [target])
    return Counter(), []


def _thumbnail(image: Tensor) -> Tensor | None:
    grey = image.float().mean(0, keepdim=True)
    small = F.adaptive_avg_pool2d(grey, SIDE).flatten()
    small = small - small.mean()
    return small / small.norm() if float(small.std()) > FLAT else None

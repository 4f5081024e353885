"""Generated pictures with exact labels for dense tasks: shapes with texture, overlap and shadow on photographs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Examples, Info, Objects, Sample
from stalwart.core.errors import DataError
from stalwart.core.rng import seed_of

KINDS = ("disc", "square", "triangle")
FEWEST_PIXELS = 12
"""An object of which less is to be seen is no object."""
Pixels = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@component
class shapes:
    """Discs, squares and triangles, turned, textured, shadowed and overlapping, on parts of real photographs.

    Every pixel's label is exact. The photographs are the two that come with scikit-learn. Nothing is read from disk
    but these, and the pictures are the same on every machine.
    """

    target: Literal["objects", "semantic", "panoptic"] = "objects"
    """objects: boxes, labels and masks, for detection and instance segmentation. semantic: index masks, in which 0 is
    the background. panoptic: both, the background being class 0 for either."""
    train: Annotated[int, at_least(1)] = 400
    """Pictures to train on."""
    test: Annotated[int, at_least(1)] = 100
    """Pictures to test on, drawn from other seeds."""
    size: Annotated[int, at_least(24)] = 64
    """Height and width in pixels."""
    most: Annotated[int, at_least(1)] = 4
    """Objects in a picture at most."""
    seed: int = 0
    """Another seed gives other pictures."""

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def open(self, split: str) -> Examples:
        if split not in self.splits():
            raise DataError(f"shapes: split must be 'train' or 'test'. Got {split!r}.")
        return _Drawn(self, split)


class _Drawn:
    """One split, drawn when it is first asked for and kept."""

    def __init__(self, source: shapes, split: str) -> None:
        self.source, self.split = source, split
        classes = KINDS if source.target == "objects" else ("background", *KINDS)
        self._info = Info(
            "shapes",
            classes,
            "CC0 for the shapes; the photographs are CC BY (scikit-learn's china.jpg and flower.jpg)",
            "generated",
            3,
            (source.size, source.size),
        )
        self._count = source.train if split == "train" else source.test
        self._drawn: list[tuple[Tensor, Any]] | None = None

    @property
    def info(self) -> Info:
        return self._info

    @property
    def strata(self) -> Sequence[int]:
        return [0] * self._count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if not -self._count <= index < self._count:
            raise IndexError(index)
        image, target = self._all()[index]
        return Sample(image, target, f"shapes {self.split} {index % self._count}")

    def arrays(self) -> tuple[Tensor, Sequence[Any]]:
        drawn = self._all()
        return torch.stack([image for image, _ in drawn]), [target for _, target in drawn]

    def _all(self) -> list[tuple[Tensor, Any]]:
        if self._drawn is None:
            photographs = _photographs()
            self._drawn = [self._draw(photographs, index) for index in range(self._count)]
        return self._drawn

    def _draw(self, photographs: list[Pixels], index: int) -> tuple[Tensor, Any]:
        source = self.source
        rng = np.random.default_rng(seed_of(source.seed, "shapes", self.split, index))
        picture = _background(photographs, source.size, rng)
        found: list[tuple[int, Mask]] = []
        for _ in range(int(rng.integers(1, source.most + 1))):
            kind = int(rng.integers(len(KINDS)))
            mask = _shape(kind, source.size, rng)
            _cast_shadow(picture, mask, rng)
            texture = _texture(source.size, rng)
            picture[mask] = texture[mask]
            found = [(other, area & ~mask) for other, area in found]  # what is drawn later lies above
            found.append((kind, mask))
        found = [(kind, mask) for kind, mask in found if int(mask.sum()) >= FEWEST_PIXELS]
        picture += np.asarray(rng.normal(0, 4, picture.shape), dtype=np.float32)
        pixels = np.asarray(picture.clip(0, 255).round(), dtype=np.uint8)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        if source.target == "objects":
            return image, _objects(found, source.size)
        indices = np.zeros((source.size, source.size), dtype=np.uint8)
        for kind, mask in found:
            indices[mask] = kind + 1
        semantic = torch.from_numpy(indices)
        if source.target == "semantic":
            return image, semantic
        objects = _objects(found, source.size)
        return image, replace(objects, labels=objects.labels + 1, semantic=semantic)


def _objects(found: Sequence[tuple[int, Mask]], size: int) -> Objects:
    boxes, labels, areas = [], [], []
    for kind, mask in found:
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        labels.append(kind)
        areas.append(torch.from_numpy(mask))
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.stack(areas) if areas else torch.zeros(0, size, size, dtype=torch.bool),
    )


def _photographs() -> list[Pixels]:
    """(H, W, 3) of 0..255."""
    from sklearn.datasets import load_sample_images  # a second to import, so only where it is used

    return [np.asarray(image, dtype=np.float32) for image in load_sample_images().images]


def _background(photographs: list[Pixels], size: int, rng: np.random.Generator) -> Pixels:
    """A part of a photograph, 1 to 4 of its pixels a pixel."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    step = int(rng.integers(1, max(2, min(height, width) // size + 1)))
    top, left = int(rng.integers(height - size * step + 1)), int(rng.integers(width - size * step + 1))
    part = photograph[top : top + size * step, left : left + size * step]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return np.asarray(part.reshape(size, step, size, step, 3).mean((1, 3)), dtype=np.float32)


def _shape(kind: int, size: int, rng: np.random.Generator) -> Mask:
    """(size, size), at least half of it inside the picture: its centre is."""
    radius = size * rng.uniform(0.1, 0.24)
    x, y = rng.uniform(0.1 * size, 0.9 * size, 2)
    turn = rng.uniform(0, 2 * math.pi)
    row, column = np.mgrid[:size, :size] + 0.5
    across = math.cos(turn) * (column - x) + math.sin(turn) * (row - y)
    along = -math.sin(turn) * (column - x) + math.cos(turn) * (row - y)
    if kind == 0:
        inside = across**2 + along**2 <= radius**2
    elif kind == 1:
        inside = np.maximum(np.abs(across), np.abs(along)) <= 0.85 * radius
    else:  # the three sides of an equilateral triangle, each at half the radius from its middle
        root = math.sqrt(3) / 2
        sides = (along, -along / 2 + root * across, -along / 2 - root * across)
        inside = np.maximum.reduce(sides) <= 0.6 * radius
    return np.asarray(inside, dtype=np.bool_)


def _cast_shadow(picture: Pixels, mask: Mask, rng: np.random.Generator) -> None:
    """Darkens, in place, where the shape's shadow falls: the mask shifted down and to a side."""
    reach = max(1, round(0.04 * len(mask)))
    side = int(rng.integers(-reach, reach + 1))
    shadow = np.zeros_like(mask)
    moved = np.roll(mask, side, 1)
    if side > 0:
        moved[:, :side] = False
    elif side < 0:
        moved[:, side:] = False
    shadow[reach:] = moved[:-reach]
    picture[shadow] *= rng.uniform(0.45, 0.8)


def _texture(size: int, rng: np.random.Generator) -> Pixels:
    """(size, size, 3): stripes, checks or blotches of two colours."""
    first, second = rng.uniform(20, 235, (2, 3))
    row, column = np.mgrid[:size, :size]
    period, turn = rng.uniform(3, 9), rng.uniform(0, math.pi)
    across = math.cos(turn) * column + math.sin(turn) * row
    along = -math.sin(turn) * column + math.cos(turn) * row
    kind = int(rng.integers(3))
    if kind == 0:
        share = 0.5 + 0.5 * np.sin(2 * math.pi * across / period)
    elif kind == 1:
        share = ((across // period + along // period) % 2).astype(np.float64)
    else:
        blotches = rng.random((size // 8 + 2, size // 8 + 2))
        share = np.kron(blotches, np.ones((8, 8)))[:size, :size]
    mixed = share[..., None] * first + (1 - share[..., None]) * second
    return np.asarray(mixed, dtype=np.float32)

"""How much of a square of ground is painted: lane markings are thinner than a far pixel and must not flicker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import Array, kernel

FULL = 31
"""A square that is painted all over; a share of it is so many parts of 31."""


@kernel
def _first(raster: Array, out: Array) -> None:
    for map_ in range(raster.shape[0]):
        tall, wide = raster.shape[1], raster.shape[2]
        for i in range(tall):
            for j in range(wide):
                value = raster[map_, i, j]
                out[map_, i * wide + j] = FULL << 3 | value - 8 if value >= 8 else 0


@kernel
def _next(out: Array, source: int, tall: int, wide: int, target: int, height: int, width: int) -> None:
    """A level from the one below it; its paint is that of the fullest of the four squares."""
    for map_ in range(out.shape[0]):
        for i in range(height):
            for j in range(width):
                share, kind, most = 0, 0, 0
                for k in range(4):
                    y, x = 2 * i + (k >> 1), 2 * j + (k & 1)
                    if y < tall and x < wide:
                        value = int(out[map_, source + y * wide + x])
                        share += value >> 3
                        if value >> 3 > most:
                            most, kind = value >> 3, value & 7
                out[map_, target + i * width + j] = ((share + 2) >> 2) << 3 | kind


def painted(raster: NDArray[np.uint8], levels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Shares of paint in squares of 1, 2, 4, 8, ... raster squares.

    Args:
        raster: (maps, H, W) uint8 ground classes.
        levels: how many levels stand above the raster's own.

    Returns:
        (maps, N) uint8, all levels one after another, each value `share << 3 | class - 8`; and (levels + 1, 2) int64,
        for each level where it begins and how wide its rows are.
    """
    maps, tall, wide = raster.shape
    sizes = [(max(1, -(-tall >> level)), max(1, -(-wide >> level))) for level in range(levels + 1)]
    counts = [height * width for height, width in sizes]
    begins = [sum(counts[:level]) for level in range(levels + 1)]
    out = np.zeros((maps, sum(counts)), np.uint8)
    _first(raster, out)
    for level in range(1, levels + 1):
        _next(out, begins[level - 1], *sizes[level - 1], begins[level], *sizes[level])
    return out, np.array([[begin, size[1]] for begin, size in zip(begins, sizes, strict=True)], np.int64)

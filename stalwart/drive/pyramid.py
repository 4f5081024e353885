"""How much of a square of ground is painted: lane markings are thinner than a far pixel and must not flicker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import Array, free_kernel

FULL = 31
"""A square that is painted all over; a share of it is so many parts of 31."""


@free_kernel
def _halved(source: Array, out: Array) -> None:
    """A level (maps, H, W) from the one below it; its paint is that of the fullest of the four squares."""
    tall, wide = source.shape[1], source.shape[2]
    for map_ in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                share, kind, most = 0, 0, 0
                for k in range(4):
                    y, x = 2 * i + (k >> 1), 2 * j + (k & 1)
                    if y < tall and x < wide:
                        value = int(source[map_, y, x])
                        share += value >> 3
                        if value >> 3 > most:
                            most, kind = value >> 3, value & 7
                out[map_, i, j] = ((share + 2) >> 2) << 3 | kind


def tiled(raster: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(maps, H, W) to (maps, N): squares of 8 x 8 one after another, each in one line of the processor's cache.

    Square (i, j) of the raster comes to (i // 8) * 64 * T + 8 * j + i % 8, where T is how many tiles lie side by side:
    within a tile columns follow each other, so that a place takes one product and few sums.
    """
    maps, tall, wide = raster.shape
    padded = np.pad(raster, ((0, 0), (0, -tall % 8), (0, -wide % 8)))
    tiles = padded.reshape(maps, -(-tall // 8), 8, -(-wide // 8), 8)
    return np.ascontiguousarray(tiles.transpose(0, 1, 3, 4, 2)).reshape(maps, -1)


def painted(raster: NDArray[np.uint8], levels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Shares of paint in squares of 2, 4, 8, ... raster squares; single ones are painted or not, as their class says.

    Args:
        raster: (maps, H, W) uint8 ground classes.
        levels: how many levels stand above the raster's own.

    Returns:
        (maps, N) uint8, all levels one after another, each `tiled`, each value `share << 3 | class - 8`; and
        (levels, 2) int64, for each level where it begins and how many tiles lie side by side.
    """
    level = np.where(raster >= 8, FULL << 3 | (raster & 7), 0).astype(np.uint8)
    parts, table, begin = [], [], 0
    for _ in range(levels):
        below = level
        level = np.empty((len(below), *(-(-side // 2) for side in below.shape[1:])), np.uint8)
        _halved(below, level)
        parts.append(tiled(level))
        table.append([begin, -(-level.shape[2] // 8)])
        begin += parts[-1].shape[1]
    return np.concatenate(parts, 1), np.array(table, np.int64)

"""Polygons to masks, pixel for pixel as COCO's own tools draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stalwart.core.errors import DataError

Mask = np.ndarray[Any, np.dtype[np.bool_]]

SCALE = 5
"""The boundary is followed in fifths of pixels."""
FARTHEST = 1e6
"""A corner's coordinate in pixels at most."""
MOST_STEPS = 4_000_000
"""Fifths of pixels around a polygon at most: what can be drawn is bounded before memory is taken."""


def draw(polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str) -> Mask:
    """(H, W) the union of polygons x1, y1, x2, y2, ... in pixels. Those of fewer than three corners are nothing.

    The pixels are those of pycocotools (`rleFrPoly`): boundaries are followed in steps of a fifth of a pixel, and a
    column's pixels change at those of its crossings.

    Raises:
        DataError: a corner without y, one far away, or a boundary too long to follow.
    """
    mask = np.zeros(size, dtype=np.bool_)
    for polygon in polygons:
        if len(polygon) % 2:
            raise DataError(f"{where}: expected polygons as x, y by turns. Got {len(polygon)} numbers.")
        if len(polygon) >= 6:
            mask |= _one(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), size, where)
    return mask


def _one(corners: np.ndarray[Any, np.dtype[np.float64]], size: tuple[int, int], where: str) -> Mask:
    height, width = size
    if not bool((np.abs(corners) <= FARTHEST).all()):
        raise DataError(f"{where}: expected polygons within {FARTHEST:,.0f} pixels. Got a corner beyond.")
    fifths = np.trunc(SCALE * corners + 0.5).astype(np.int64)
    start, end = fifths, np.roll(fifths, -1, 0)
    run = np.abs(end - start)  # (n, 2) dx, dy
    steps = run.max(1) + 1
    total = int(steps.sum())
    if total > MOST_STEPS:
        raise DataError(f"{where}: expected a boundary of at most {MOST_STEPS // SCALE:,} pixels. Got "
                        f"{total // SCALE:,}.")  # fmt: skip
    flat = run[:, 0] >= run[:, 1]  # edges that are followed along x, the others along y
    turned = np.where(flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    low, high = np.where(turned[:, None], end, start), np.where(turned[:, None], start, end)
    rise = np.where(flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0])
    slope = rise / np.maximum(steps - 1, 1)
    edge = np.repeat(np.arange(len(steps)), steps)  # (m,) which edge a step is on
    along = np.arange(total) - np.repeat(np.cumsum(steps) - steps, steps)
    along = np.where(turned[edge], steps[edge] - 1 - along, along)
    base = np.where(flat, low[:, 1], low[:, 0])
    across = np.trunc(base[edge] + slope[edge] * along + 0.5).astype(np.int64)
    x = np.where(flat[edge], along + low[edge, 0], across)
    y = np.where(flat[edge], across, along + low[edge, 1])

    crossing = x[1:] != x[:-1]
    at_x, before_x = x[1:][crossing], x[:-1][crossing]
    at_y, before_y = y[1:][crossing], y[:-1][crossing]
    column = (np.where(at_x < before_x, at_x, at_x - 1) + 0.5) / SCALE - 0.5
    row = np.ceil(np.clip((np.minimum(at_y, before_y) + 0.5) / SCALE - 0.5, 0, height)).astype(np.int64)
    whole = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    changes = column[whole].astype(np.int64) * height + row[whole]
    odd: Mask = np.cumsum(np.bincount(changes, minlength=height * width + 1)[: height * width]) % 2 == 1
    return odd.reshape(width, height).T

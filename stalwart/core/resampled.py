"""How far an average precision would move with other images: the bootstrap over images.

Efron and Tibshirani, "An introduction to the bootstrap" (1993), the percentile interval: images are drawn with
replacement, as many as there are, and the figure is taken of each draw. Matching detections with objects is done once,
as it is of each image alone; a draw only says how often each image counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stalwart.core.rng import generator

DRAWS = 200
"""Draws of the images."""
LEAST = 0.5
"""The IoU from which on a detection is of an object: the figure is AP50."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads the precision."""
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Matched:
    """One class's detections in all images, the surest first; those on crowds are left out."""

    image: Array
    """(d,) int64, each detection's image."""
    right: Array
    """(d,) bool: it found an object that no surer one had found."""
    objects: Array
    """(n,) int64 objects in each image, crowds left out."""


def matched(
    rows: Sequence[Mapping[str, Any]], ious: Mapping[tuple[int, int], Any], classes: int, most: int
) -> list[Matched]:
    """Each class's detections matched with its objects, as COCO's `evaluateImg` does for objects of all sizes.

    Args:
        rows: each image's objects and detections, as `CocoMetric` gathers them.
        ious: by (image, class), both counted from 1, (detections, objects) with the surest detection first.
        most: detections of a class in an image at most.
    """
    objects = np.zeros((classes, len(rows)), dtype=np.int64)
    found: list[list[tuple[float, int, bool]]] = [[] for _ in range(classes)]
    for place, row in enumerate(rows):
        crowds: dict[int, list[bool]] = defaultdict(list)
        for label, crowd in zip(row["labels"], row["crowd"], strict=True):
            crowds[label].append(bool(crowd))
            objects[label, place] += not crowd
        sure: dict[int, list[float]] = defaultdict(list)
        for label, score in zip(row["found_labels"], row["scores"], strict=True):
            sure[label].append(score)
        for label, scores in sure.items():
            hits = _hits(ious.get((place + 1, label + 1), ()), crowds.get(label, ()), len(scores))
            best = zip(sorted(scores, reverse=True)[:most], hits, strict=False)
            found[label] += [(-score, place, hit) for score, hit in best if hit is not None]
    several = []
    for own, there in zip(found, objects, strict=True):
        own.sort(key=lambda one: one[0])  # stable: of equal scores the first image's comes first, as COCO has it
        places, right = np.asarray([one[1] for one in own], dtype=np.int64), np.asarray([one[2] for one in own], bool)
        several.append(Matched(places, right, there))
    return several


def _hits(over: Any, crowd: Sequence[bool], count: int) -> list[bool | None]:
    """For each detection whether it found an object; None where it lies on a crowd and does not count."""
    if not len(crowd) or not len(over):
        return [False] * count
    hits: list[bool | None] = [False] * len(over)
    ignored, free = np.asarray(crowd), np.ones(len(crowd), dtype=bool)
    table = np.asarray(over)
    for number in np.flatnonzero(table.max(1) >= LEAST):
        near = table[number] >= LEAST
        own = near & free & ~ignored
        if own.any():  # of equals the last, as COCO takes it
            best = len(own) - 1 - int(np.argmax(np.where(own, table[number], -1.0)[::-1]))
            free[best] = False
            hits[number] = True
        elif (near & ignored).any():
            hits[number] = None
    return hits


def precisions(one: Matched, counts: Array) -> Array:
    """(r,) COCO's average precision of a class where image i counts `counts[:, i]` times; NaN where no object is left.

    Args:
        counts: (r, n) int64.
    """
    total = counts @ one.objects  # (r,)
    # Precision is highest at a right detection, and recall rises there alone: the others need not be looked at.
    weight = counts[:, one.image]  # (r, d)
    every = np.cumsum(weight, 1)[:, one.right]  # (r, t)
    true = np.cumsum(weight[:, one.right], 1)
    envelope = np.maximum.accumulate((true / np.maximum(every, 1))[:, ::-1], 1)[:, ::-1]
    # Each recall that COCO reads is read at the first detection that reaches it, recall 0 at the first of all.
    reached = np.searchsorted(RECALLS, true / np.maximum(total, 1)[:, None], side="right")
    read = np.diff(reached, axis=1, prepend=0)
    found: Array = np.where(total > 0, (read * envelope).sum(1) / len(RECALLS), np.nan)
    return found


def interval(classes: Sequence[Matched]) -> tuple[float, float] | None:
    """The 95 % interval of AP50, the mean over the classes that a draw has objects of; None without any object."""
    if not classes or not any(one.objects.any() for one in classes):
        return None
    n = len(classes[0].objects)
    drawn = torch.randint(n, (DRAWS, n), generator=generator("average precision")).numpy()
    counts = np.stack([np.bincount(draw, minlength=n) for draw in drawn])
    each = np.stack([precisions(one, counts) for one in classes])  # (K, r)
    some = ~np.isnan(each)
    means = np.where(some, each, 0.0).sum(0)[some.any(0)] / some.sum(0)[some.any(0)]
    if not len(means):
        return None
    means.sort()
    cut = len(means) // 40
    return float(means[cut]), float(means[len(means) - 1 - cut])

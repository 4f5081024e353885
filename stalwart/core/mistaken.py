"""Which objects a detector takes for which: the confusion of classes, whatever the class a detection says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stalwart.core.finding import OVERLAP
from stalwart.core.objects import iou


def confusion(rows: Sequence[Mapping[str, Any]], classes: int, threshold: float) -> list[list[int]]:
    """(K, K) counts: objects of class i (row) that are taken for class j (column).

    In each image the detections of at least the threshold's score, the surest first, each take the object that their
    box is most on, among those that no surer one has taken and with an IoU of a half at least. What a row lacks of its
    class's objects nobody found; crowds are left out.

    Args:
        rows: each image's objects and detections, as `CocoMetric` gathers them.
    """
    table = [[0] * classes for _ in range(classes)]
    for row in rows:
        free = [not crowd for crowd in row["crowd"]]
        sure = [(-score, number) for number, score in enumerate(row["scores"]) if score >= threshold]
        if not sure or not any(free):
            continue
        over = iou(torch.tensor(row["found"])[None], torch.tensor(row["boxes"])[None])[0].tolist()
        for _, number in sorted(sure):
            share, own = max((share if left else -1.0, -place) for place, (share, left) in
                             enumerate(zip(over[number], free, strict=True)))  # fmt: skip
            if share >= OVERLAP:
                free[-own] = False
                table[row["labels"][-own]][row["found_labels"][number]] += 1
    return table

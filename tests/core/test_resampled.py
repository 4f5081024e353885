"""The bootstrap of AP50: a draw's figure is COCO's of the images it holds, and the interval covers what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core import resampled
from stalwart.core.coco import CocoMetric, _evaluate, _indexed, coco
from stalwart.core.contracts import Objects
from stalwart.core.finding import Detections
from stalwart.core.objects import stack

CLASSES = ("cat", "dog", "owl")


def gathered(seed: int, images: int = 6, crowds: bool = True) -> CocoMetric:
    """Objects, and detections that lie on them, beside them and twice on them, with scores that differ."""
    draw = torch.Generator().manual_seed(seed)

    def random(*size: int) -> torch.Tensor:
        return torch.rand(*size, generator=draw)

    metric = CocoMetric(CLASSES)
    for _ in range(images):
        n = int(random(1) * 5)
        corner = random(n, 2) * 40
        boxes = torch.cat([corner, corner + 5 + random(n, 2) * 20], 1)
        labels = (random(n) * 3).long()
        truth = Objects(boxes, labels, crowd=(random(n) < 0.2) & crowds)
        moved = torch.cat([boxes + random(n, 4) * 6 - 3, boxes + random(n, 4) * 3, random(2, 4) * 20], 0)
        moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2] + 1)
        said = torch.cat([labels, torch.where(random(n) < 0.7, labels, 0), torch.tensor([1, 2])])
        scores, order = random(len(moved)).sort(descending=True)
        metric.update([Detections(moved[order], said[order], scores)], stack([truth]))
    return metric


def classes_of(metric: CocoMetric) -> list[resampled.Matched]:
    evaluated = _evaluate(*_indexed(*coco(metric.rows, metric.classes)), "bbox")
    return resampled.matched(metric.rows, evaluated.ious, len(CLASSES), 100)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_draw_s_figure_is_coco_s_of_the_images_in_it(seed: int, drawn: list[int]) -> None:
    metric = gathered(seed)
    counts = np.bincount(drawn, minlength=6)[None]
    each = np.array([resampled.precisions(one, counts)[0] for one in classes_of(metric)])
    again = CocoMetric(CLASSES)
    again.rows = [metric.rows[i] for i in sorted(drawn)]
    figures = again.compute()
    for value, row in zip(each, figures["per_class"], strict=True):
        assert (None if np.isnan(value) else pytest.approx(value, abs=1e-9)) == row["ap50"]


def test_the_interval_is_of_the_draws_and_the_figure_lies_in_it() -> None:
    metric = gathered(3, images=30)
    figures = metric.compute()
    low, high = figures["intervals"]["ap50"]
    assert low < figures["ap50"] < high
    assert (low, high) == metric.compute()["intervals"]["ap50"], "the same images give the same interval"
    more = CocoMetric(CLASSES)
    more.rows = metric.rows * 9
    narrow = more.compute()["intervals"]["ap50"]
    assert narrow[1] - narrow[0] < 0.5 * (high - low), "nine times the images: a third of the width"


def test_one_image_and_certain_answers_have_no_width() -> None:
    boxes, labels = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0])
    metric = CocoMetric(CLASSES)
    metric.update([Detections(boxes, labels, torch.tensor([0.9]))] * 4, stack([Objects(boxes, labels)] * 4))
    low, high = metric.compute()["intervals"]["ap50"]
    assert low == pytest.approx(1.0)
    assert high == pytest.approx(1.0)


@pytest.mark.parametrize("found", [0, 1])
def test_without_objects_there_is_no_interval(found: int) -> None:
    none: dict[str, Any] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    metric = CocoMetric(CLASSES)
    said = Detections(torch.rand(found, 4) + torch.tensor([0.0, 0, 2, 2]), torch.zeros(found).long(), torch.ones(found))
    metric.update([said], stack([Objects(**none)]))
    assert metric.compute()["intervals"] == {}

"""COCO's figures of many images: ours beside pycocotools', from the same detections, in CPU seconds of one thread.

    python benchmarks/coco_eval.py [--images 1000] [--found 50] [--classes 80] [--turns 3] [--masks]

Objects are drawn at random, some 7 to an image, a tenth of them crowds; detections are the objects, moved and scored at
random, and others where nothing is. Ours is timed from tensors to figures (`update` and `compute`); pycocotools from
lists as its json has them, which are made beforehand, to its summary, and with masks also their encoding by it, which
ours does too. The figures are compared to six digits.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from stalwart.core.coco import NAMES, CocoMetric, coco
from stalwart.core.contracts import Objects
from stalwart.core.finding import Detections
from stalwart.core.objects import ObjectBatch, stack

SIDE = 640
"""Pixels of an image's side; with masks 160, which pycocotools counts as it does larger ones, by runs."""


def case(images: int, found: int, classes: int, masks: bool) -> tuple[list[Detections], ObjectBatch]:
    """Detections and truth of so many images; seeded."""
    rng, side = torch.Generator().manual_seed(0), 160 if masks else SIDE
    said, truth = [], []
    for _ in range(images):
        n = int(torch.randint(1, 14, (), generator=rng))
        boxes = _boxes(n, side, rng)
        labels = torch.randint(classes, (n,), generator=rng)
        crowd = torch.rand(n, generator=rng) < 0.1
        own = torch.arange(found) % (2 * n)  # some objects twice or more, as many detections on nothing
        moved = torch.where((own < n)[:, None], boxes[own % n], _boxes(found, side, rng))
        moved = (moved + 6 * torch.randn(found, 4, generator=rng)).clamp(0, side)
        moved = torch.cat([torch.minimum(moved[:, :2], moved[:, 2:] - 1).clamp_min(0), moved[:, 2:].clamp_min(1)], 1)
        sure = torch.rand(found, generator=rng)
        chosen = torch.where(own < n, labels[own % n], torch.randint(classes, (found,), generator=rng))
        order = sure.argsort(descending=True)
        areas = _masks(boxes, side) if masks else None
        truth.append(Objects(boxes, labels, areas, crowd))
        drawn = _masks(moved[order], side) if masks else None
        said.append(Detections(moved[order], chosen[order], sure[order], drawn))
    return said, stack(truth)


def _boxes(count: int, side: int, rng: torch.Generator) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=rng) * side * 0.8
    size = (torch.rand(count, 2, generator=rng) ** 2 * 0.5 + 0.02) * side
    return torch.cat([corner, (corner + size).clamp_max(side)], 1)


def _masks(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """(n, side, side) ellipses within the boxes."""
    at = torch.arange(side) + 0.5
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    across = ((at - middle[:, :1]) / half[:, :1].clamp_min(0.5)).square()
    down = ((at - middle[:, 1:]) / half[:, 1:].clamp_min(0.5)).square()
    inside: torch.Tensor = down[:, :, None] + across[:, None] <= 1
    return inside


def ours(said: list[Detections], truth: ObjectBatch, classes: list[str], masks: bool) -> dict[str, Any]:
    metric = CocoMetric(classes, masks)
    for first in range(0, len(said), 50):  # as an evaluation would, batch by batch
        rows = torch.arange(first, min(first + 50, len(said)))
        metric.update(said[first : first + 50], truth[rows])
    return metric.compute()


def theirs(known: dict[str, Any], found: list[dict[str, Any]], masks: bool) -> dict[str, Any]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    figures: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for by in ("segm", "bbox") if masks else ("bbox",):
            truth = COCO()
            truth.dataset = known
            truth.createIndex()
            evaluated = COCOeval(truth, truth.loadRes(found), by)
            evaluated.evaluate()
            evaluated.accumulate()
            evaluated.summarize()
            prefix = "box_" if masks and by == "bbox" else ""
            figures |= {f"{prefix}{name}": float(v) for name, v in zip(NAMES, evaluated.stats, strict=True)}
    return figures


def encoding(said: list[Detections], truth: ObjectBatch) -> float:
    """CPU seconds that pycocotools takes to encode all masks."""
    from pycocotools import mask

    assert truth.masks is not None
    stacks = [one.masks for one in said if one.masks is not None] + [truth.of(row).masks for row in range(len(said))]
    begun = time.process_time()
    for stacked in stacks:
        if stacked is not None:
            mask.encode(stacked.permute(1, 2, 0).to(torch.uint8).numpy().copy(order="F"))
    return time.process_time() - begun


def timed(run: Callable[[], dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    begun = time.process_time()
    figures = run()
    return time.process_time() - begun, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("images", 1000), ("found", 50), ("classes", 80), ("turns", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--masks", action="store_true", help="masks and boxes in place of boxes alone")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = [str(number) for number in range(asked.classes)]
    said, truth = case(asked.images, asked.found, asked.classes, asked.masks)
    gathered = CocoMetric(names, asked.masks)
    gathered.update(said, truth)
    known, found = coco(gathered.rows, names)
    seconds: dict[str, list[float]] = {"stalwart": [], "pycocotools": []}
    for turn in range(asked.turns):
        took, mine = timed(lambda: ours(said, truth, names, asked.masks))
        seconds["stalwart"].append(took)
        copied = copy.deepcopy((known, found))  # it writes into what it is given
        extra = encoding(said, truth) if asked.masks else 0.0
        took, other = timed(lambda copied=copied: theirs(*copied, asked.masks))  # type: ignore[misc]
        took += extra
        seconds["pycocotools"].append(took)
        apart = max(abs((mine[name] if mine.get(name) is not None else -1.0) - other[name])
                    for name in other if name in mine)  # fmt: skip
        print(f"turn {turn + 1}: stalwart {seconds['stalwart'][-1]:.2f} s, pycocotools {took:.2f} s, "
              f"figures apart by {apart:.1e}")  # fmt: skip
        assert apart < 1e-6
    mine_s, other_s = (statistics.median(values) for values in seconds.values())
    print(f"{asked.images} images × {asked.found} detections, {asked.classes} classes: "
          f"stalwart {mine_s:.2f} CPU s, pycocotools {other_s:.2f} CPU s: {other_s / mine_s:.1f} times as fast; "
          f"AP {mine['ap']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()

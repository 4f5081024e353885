"""COCO's figures by faster-coco-eval: average precision and recall of boxes and of masks."""

from __future__ import annotations

import contextlib
import gc
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stalwart.core import resampled
from stalwart.core.errors import ContractError, InputError
from stalwart.core.finding import Detections
from stalwart.core.mistaken import confusion
from stalwart.core.objects import NONE, ObjectBatch

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium",
         "ar_large")  # fmt: skip
"""The twelve figures in COCO's order."""
By = Literal["bbox", "segm"]
Row = Mapping[str, Any]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class CocoMetric:
    """AP, AP50, AP75, of small, medium and large objects, AR, and AP of each class; an interval of AP50.

    With masks the figures are of masks, and those of the boxes stand beside them as `box_ap`, `box_ap50`, ...

    Besides, `confusion` (K, K) says which objects are taken for which, by detections of at least the `threshold`'s
    score (`core/mistaken.py`); and `precision` of each class holds AP50's own curve: the precision at the recalls 0,
    0.01, ..., 1, or nothing for a class without objects.
    """

    def __init__(self, classes: Sequence[str], masks: bool = False, threshold: float = 0.3) -> None:
        self.classes, self.masks, self.threshold = tuple(classes), masks, threshold
        self.rows: list[dict[str, Any]] = []
        """For each image its objects and what was found, as plain lists; masks run-length encoded as COCO does."""

    def update(self, prediction: Sequence[Detections], targets: ObjectBatch) -> None:
        if len(prediction) != len(targets):
            raise ContractError(f"predictions must be as many as targets, {len(targets)}. Got {len(prediction)}.")
        for index, said in enumerate(prediction):
            own = targets.labels[index] != NONE
            row: dict[str, Any] = {
                "boxes": targets.boxes[index][own].tolist(),
                "labels": targets.labels[index][own].tolist(),
                "crowd": targets.crowd[index][own].tolist(),
                "found": said.boxes.tolist(),
                "found_labels": said.labels.tolist(),
                "scores": said.scores.tolist(),
            }
            if self.masks:
                if targets.masks is None or said.masks is None:
                    who = "targets" if targets.masks is None else "predictions"
                    raise ContractError(f"figures of masks need {who} with masks. Got boxes alone.")
                row["masks"] = encoded(targets.masks[index][own])
                row["found_masks"] = encoded(said.masks)
            self.rows.append(row)

    def state(self) -> dict[str, Any]:
        return {"rows": list(self.rows)}

    def merge(self, states: Sequence[Mapping[str, Any]]) -> None:
        for state in states:
            self.rows += state["rows"]

    def compute(self) -> dict[str, Any]:
        if not self.rows:
            raise InputError("there are no samples to score. Got 0 images.")
        with _uncollected():
            known, found = _indexed(*coco(self.rows, self.classes))
            evaluated = _evaluate(known, found, "segm" if self.masks else "bbox")
            figures, per_class = self._of(evaluated)
            between = resampled.interval(
                resampled.matched(self.rows, evaluated.ious, len(self.classes), evaluated.params.maxDets[-1])
            )
            if self.masks:
                of_boxes, boxes_per_class = self._of(_evaluate(known, found, "bbox"))
                figures |= {f"box_{name}": of_boxes[name] for name in ("ap", "ap50", "ap75")}
                for row, other in zip(per_class, boxes_per_class, strict=True):
                    row |= {"box_ap": other["ap"], "box_ap50": other["ap50"]}
        intervals = {} if between is None else {"ap50": between}
        at_half = evaluated.eval["precision"][0, :, :, 0, -1]  # (R, K)
        return {
            "n": len(self.rows),
            **figures,
            "per_class": per_class,
            "confusion": confusion(self.rows, len(self.classes), self.threshold),
            "precision": [column.tolist() if (column > -1).all() else [] for column in np.asarray(at_half).T],
            "intervals": intervals,
        }

    def _of(self, evaluated: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The twelve figures, None where there is nothing to count, and the rows of the classes."""
        stats = [float(value) if float(value) >= 0 else None for value in evaluated.stats[:12]]
        figures: dict[str, Any] = dict(zip(NAMES, stats, strict=True))
        for name in ("ap", "ap50"):
            figures[name] = figures[name] or 0.0
        precision = torch.as_tensor(evaluated.eval["precision"])  # (T, R, K, areas, most)
        counts = Counter(label for row in self.rows for label in row["labels"])
        per_class = []
        for number, name in enumerate(self.classes):
            own, first = precision[:, :, number, 0, -1], precision[0, :, number, 0, -1]
            per_class.append({"name": name, "n": counts[number], "ap": _mean(own), "ap50": _mean(first)})
        return figures, per_class


def _mean(precision: Tensor) -> float | None:
    counted = precision[precision > -1]
    return float(counted.mean()) if len(counted) else None


def encoded(masks: Tensor) -> list[dict[str, Any]]:
    """COCO's compressed run lengths of masks (n, H, W) bool, as JSON has them."""
    from faster_coco_eval.core import mask

    if not len(masks):
        return []
    height, width = masks.shape[1:]
    runs = run_lengths(masks.to("cpu", torch.bool).numpy())
    found = mask.frPyObjects([{"size": [height, width], "counts": counts} for counts in runs], height, width)
    return [{"size": [height, width], "counts": _text(one["counts"])} for one in found]


def run_lengths(masks: Bools) -> list[list[int]]:
    """Of each of the masks (n, H, W) the lengths of its runs of zeros and ones by turns, zeros first, column by column.

    The rows are compared as they lie, and the few places of a change sorted into the order of the columns: to lay the
    masks out by columns would cost more than all the rest.
    """
    count, height, width = masks.shape
    size = height * width
    mask, place = np.divmod(np.flatnonzero(masks[:, 1:] != masks[:, :-1]), max(size - width, 1))
    row, column = np.divmod(place, width)
    within = mask * size + column * height + row + 1
    tops = masks[:, 0].copy()  # a column's first pixel comes after the last one of the column before
    tops[:, 1:] ^= masks[:, -1, :-1]
    mask, column = np.nonzero(tops)
    starts = np.arange(count + 1) * size
    edges = np.sort(np.concatenate([starts, within, mask * size + column * height]))
    lengths: list[int] = np.diff(edges).tolist()
    first = np.searchsorted(edges, starts).tolist()
    return [lengths[begin:end] for begin, end in pairwise(first)]


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def coco(rows: Sequence[Row], classes: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The objects and detections as COCO's json has them: boxes as left, top, width, height; numbers from 1.

    An object's area is its mask's where there are masks, and its box's otherwise; a detection's is its box's, as
    pycocotools takes it where both are given.
    """
    from faster_coco_eval.core import mask

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, row in enumerate(rows, 1):
        _place(annotations, image, row["boxes"], row["labels"], row.get("masks"), "iscrowd", row["crowd"])
        _place(results, image, row["found"], row["found_labels"], row.get("found_masks"), "score", row["scores"])
    for annotation in annotations:
        annotation["iscrowd"] = int(annotation["iscrowd"])
        if "segmentation" in annotation:
            annotation["area"] = float(mask.area(annotation["segmentation"]))
    truth = {
        "images": [{"id": number, **_size(row)} for number, row in enumerate(rows, 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
    }
    return truth, results


def _place(
    into: list[dict[str, Any]],
    image: int,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    outlines: Sequence[dict[str, Any]] | None,
    name: str,
    values: Sequence[Any],
) -> None:
    """Adds one image's objects or detections, each with its own of the `values` under `name`."""
    number, first = len(into), len(into)
    for (left, top, right, bottom), label, value in zip(boxes, labels, values, strict=True):
        wide, high = right - left, bottom - top
        number += 1
        into.append(
            {
                "id": number,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [left, top, wide, high],
                "area": wide * high,
                name: value,
            }
        )
    for one, outline in zip(into[first:], outlines or (), strict=bool(outlines)):
        one["segmentation"] = dict(outline)


def _size(row: Row) -> dict[str, int]:
    known = next(iter([*row.get("masks", ()), *row.get("found_masks", ())]), None)
    return {} if known is None else {"height": known["size"][0], "width": known["size"][1]}


def _indexed(truth: dict[str, Any], said: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Both as faster-coco-eval's records with their indices."""
    from faster_coco_eval import COCO

    found = {**truth, "annotations": [{**one, "iscrowd": 0} for one in said or [_NOTHING]]}
    return COCO(truth), COCO(found)


def _evaluate(known: Any, found: Any, by: By) -> Any:
    from faster_coco_eval import COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval_faster(known, found, iouType=by, print_function=lambda *_: None)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles: there are none among hundreds of thousands of records, and looking costs more
    than making them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


_NOTHING = {
    "id": 1,
    "image_id": 1,
    "category_id": 1,
    "bbox": [0.0, 0.0, 0.0, 0.0],
    "area": 0.0,
    "segmentation": {"size": [1, 1], "counts": "1"},
    "score": 0.0,
}
"""In place of no detection at all, of which COCO's format cannot speak."""

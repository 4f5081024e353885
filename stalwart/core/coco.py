"""COCO's figures by faster-coco-eval: average precision and recall of boxes and of masks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from stalwart.core.errors import ContractError, InputError
from stalwart.core.finding import Detections
from stalwart.core.objects import NONE, ObjectBatch

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium",
         "ar_large")  # fmt: skip
"""The twelve figures in COCO's order."""
By = Literal["bbox", "segm"]
Row = Mapping[str, Any]


class CocoMetric:
    """AP, AP50, AP75, of small, medium and large objects, AR, and AP of each class.

    With masks the figures are of masks, and those of the boxes stand beside them as `box_ap`, `box_ap50`, ...
    """

    def __init__(self, classes: Sequence[str], masks: bool = False) -> None:
        self.classes, self.masks = tuple(classes), masks
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
        figures, per_class = self._of("segm" if self.masks else "bbox")
        if self.masks:
            of_boxes, boxes_per_class = self._of("bbox")
            figures |= {f"box_{name}": of_boxes[name] for name in ("ap", "ap50", "ap75")}
            for row, other in zip(per_class, boxes_per_class, strict=True):
                row |= {"box_ap": other["ap"], "box_ap50": other["ap50"]}
        return {"n": len(self.rows), **figures, "per_class": per_class}

    def _of(self, by: By) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The twelve figures, None where there is nothing to count, and the rows of the classes."""
        evaluated = _evaluate(*coco(self.rows, self.classes), by)
        stats = [float(value) if float(value) >= 0 else None for value in evaluated.stats[:12]]
        figures: dict[str, Any] = dict(zip(NAMES, stats, strict=True))
        for name in ("ap", "ap50"):
            figures[name] = figures[name] or 0.0
        precision = torch.as_tensor(evaluated.eval["precision"])  # (T, R, K, areas, most)
        per_class = []
        for number, name in enumerate(self.classes):
            count = sum(row["labels"].count(number) for row in self.rows)
            own, first = precision[:, :, number, 0, -1], precision[0, :, number, 0, -1]
            per_class.append({"name": name, "n": count, "ap": _mean(own), "ap50": _mean(first)})
        return figures, per_class


def _mean(precision: Tensor) -> float | None:
    counted = precision[precision > -1]
    return float(counted.mean()) if len(counted) else None


def encoded(masks: Tensor) -> list[dict[str, Any]]:
    """COCO's run lengths of masks (n, H, W) bool, as JSON has them."""
    from faster_coco_eval.core import mask

    turned = masks.permute(1, 2, 0).to("cpu", torch.uint8).numpy()
    if not turned.shape[2]:
        return []
    found = mask.encode(turned.copy(order="F"))
    return [{"size": list(one["size"]), "counts": _text(one["counts"])} for one in found]


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def coco(rows: Sequence[Row], classes: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The objects and detections as COCO's json has them: boxes as left, top, width, height; numbers from 1.

    An object's area is its mask's where there are masks, and its box's otherwise.
    """
    from faster_coco_eval.core import mask

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, row in enumerate(rows, 1):
        outlines = row.get("masks") or [None] * len(row["boxes"])
        for box, label, crowd, outline in zip(row["boxes"], row["labels"], row["crowd"], outlines, strict=True):
            placed = _placed(image, label, box, outline)
            wide, high = placed["bbox"][2:]
            area = wide * high if outline is None else float(mask.area(outline))
            annotations.append({"id": len(annotations) + 1, **placed, "area": area, "iscrowd": int(crowd)})
        outlines = row.get("found_masks") or [None] * len(row["found"])
        for box, label, score, outline in zip(row["found"], row["found_labels"], row["scores"], outlines, strict=True):
            results.append({**_placed(image, label, box, outline), "score": score})
    truth = {
        "images": [{"id": number, **_size(row)} for number, row in enumerate(rows, 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
    }
    return truth, results


def _placed(image: int, label: int, box: Sequence[float], outline: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "image_id": image,
        "category_id": label + 1,
        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
    }
    return found if outline is None else {**found, "segmentation": dict(outline)}


def _size(row: Row) -> dict[str, int]:
    known = next(iter([*row.get("masks", ()), *row.get("found_masks", ())]), None)
    return {} if known is None else {"height": known["size"][0], "width": known["size"][1]}


def _evaluate(truth: dict[str, Any], said: list[dict[str, Any]], by: By) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        found = known.loadRes(said or [_NOTHING])
        evaluation = COCOeval_faster(known, found, iouType=by, print_function=lambda *_: None)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


_NOTHING = {
    "image_id": 1,
    "category_id": 1,
    "bbox": [0.0, 0.0, 0.0, 0.0],
    "segmentation": {"size": [1, 1], "counts": "1"},
    "score": 0.0,
}
"""In place of no detection at all, of which COCO's format cannot speak."""

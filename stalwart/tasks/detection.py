"""Object detection: boxes with classes and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import Goal, Info, Metric, Objects, Verdict
from stalwart.core.errors import ContractError, InputError, nearest
from stalwart.core.objects import NONE, ObjectBatch, iou, move, stack

Kind = Literal["untargeted", "vanish", "fabricate", "mislabel"]
KINDS: tuple[Kind, ...] = ("untargeted", "vanish", "fabricate", "mislabel")
OVERLAP = 0.5
"""The IoU from which on a box is of an object."""


@runtime_checkable
class Finder(Protocol):
    """The part of a model that gives its outputs a meaning: a module within it that has these methods."""

    def candidates(self, outputs: Any) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) in pixels and logits (B, A, K), whose sigmoid is the score."""
        ...

    def losses(self, outputs: Any, targets: ObjectBatch) -> Tensor:
        """(B,) what training minimises: deterministic, of each image alone, no state changed."""
        ...


@dataclass(frozen=True)
class Detections:
    """What was found in one image, the surest first."""

    boxes: Tensor
    """(n, 4)"""
    labels: Tensor
    """(n,) int64"""
    scores: Tensor
    """(n,) in [0, 1]"""


@component
class detection:
    """Boxes with classes and scores. Targets are the objects of each image, predictions lists of `Detections`.

    The model is any module that has a `Finder` within; `dense()` has.
    """

    threshold: Annotated[float, Range(0, 1)] = 0.3
    """The score from which on something counts as found, for goals and pictures; the metric takes all."""
    floor: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """An untargeted attack has reached its goal where less than this share of an image's objects is found still."""
    most: Annotated[int, at_least(1)] = 100
    """Detections of an image at most."""

    score: ClassVar[str] = "ap50"
    """The figure that says which model is best."""

    def collate(self, targets: Sequence[Objects]) -> ObjectBatch:
        return stack([Objects(one.boxes, one.labels, None, one.crowd) for one in targets])

    def loss(self, model: nn.Module, images: Tensor, targets: ObjectBatch, *, smoothing: float = 0.0) -> Tensor:
        """(B,) the model's own loss, deterministic and image by image. `smoothing` has no meaning here.

        Raises:
            InputError: `smoothing` is not 0.
        """
        if smoothing:
            raise InputError(f"detection has no label smoothing. Got smoothing={smoothing:g}.")
        return finder_of(model).losses(model(images), targets)

    @torch.no_grad()
    def predict(self, model: nn.Module, images: Tensor) -> list[Detections]:
        finder = finder_of(model)
        outputs = model(images)
        boxes, logits = finder.candidates(outputs)
        peaks = finder.peaks(outputs) if hasattr(finder, "peaks") else None
        size = torch.tensor([images.shape[3], images.shape[2]] * 2, device=boxes.device, dtype=boxes.dtype)
        boxes = torch.minimum(boxes.clamp_min(0), size)
        return [
            _best(boxes[row], logits[row].sigmoid(), None if peaks is None else peaks[row], self.most)
            for row in range(len(images))
        ]

    def goal(self, model: nn.Module, targets: ObjectBatch, kind: str = "", wanted: Any = None) -> Goal:
        """What is done to each image's own objects.

        kind        loss to be raised                                   reached
        untargeted  the training loss (the usual one)                   fewer than `floor` of the objects are found;
                                                                        without objects: one is seen
        vanish      −log p of the candidates on objects, turned round   no object is found
        fabricate   log p of the 16 surest candidates off all objects   more of them are seen than there are objects
        mislabel    how far another class is ahead on the candidates    no object is found, and in the place of one
                    on objects                                          another class is seen

        After the objectness and mislabelling attacks of Chow et al., "Adversarial objectness gradient attacks in
        real-time object detection systems" (TPS 2020), in terms of candidates, so that any detector has them.

        Raises:
            InputError: an unknown kind; `wanted`, which is not served.
        """
        kind = kind or "untargeted"
        if kind not in KINDS:
            raise InputError(f"detection has no goal {kind!r}. {nearest(kind, KINDS)}")
        if wanted is not None:
            raise InputError("detection has no targeted goals: 'mislabel' and 'fabricate' say what is wanted.")
        return _Goal(model, targets, kind, self.threshold, self.floor)

    def metric(self, info: Info) -> Metric:
        return DetectionMetric(info.classes)

    def move(self, targets: ObjectBatch, placement: Tensor, size: tuple[int, int]) -> ObjectBatch:
        return move(targets, placement, size)

    def place(self, target: Objects, placement: Tensor, size: tuple[int, int]) -> Objects:
        return move(stack([target]), placement[None], size).of(0)

    def describe(self, prediction: Sequence[Detections], index: int, info: Info) -> dict[str, Any]:
        """What is found with at least the threshold's score, and where."""
        one = prediction[index]
        rows = [
            {
                "class": info.classes[int(label)],
                "score": float(score),
                "box": [round(float(side), 1) for side in box],
            }
            for box, label, score in zip(one.boxes, one.labels, one.scores, strict=True)
            if float(score) >= self.threshold
        ]
        return {"found": _counted([str(row["class"]) for row in rows]), "objects": rows}

    def describe_target(self, targets: ObjectBatch, index: int, info: Info) -> dict[str, Any]:
        own = targets.of(index)
        names = [info.classes[int(label)] for label in own.labels]
        rows = [
            {"class": name, "box": [round(float(side), 1) for side in box]}
            for name, box in zip(names, own.boxes, strict=True)
        ]
        return {"found": _counted(names), "objects": rows}


def finder_of(model: nn.Module) -> Finder:
    """The part of a model, or of what a wrapper has within, that knows what its outputs mean.

    Raises:
        ContractError: there is none.
    """
    for module in model.modules():
        if isinstance(module, Finder):
            return module
    raise ContractError(
        f"a detector must hold a module with candidates() and losses(), as dense() does. Got {type(model).__name__}."
    )


def _counted(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    order = dict.fromkeys(names)
    return ", ".join(f"{names.count(name)} {name}" for name in order)


def _best(boxes: Tensor, scores: Tensor, peaks: Tensor | None, most: int) -> Detections:
    """The surest candidates (A, 4), (A, K) that do not repeat one another: NMS class by class."""
    from torchvision.ops import batched_nms

    if peaks is not None:
        scores = scores * peaks
    flat = scores.flatten()
    top, place = flat.topk(min(len(flat), 4 * most))
    keep = top > 1e-3
    top, place = top[keep], place[keep]
    labels, chosen = place % scores.shape[1], boxes[place // scores.shape[1]]
    order = batched_nms(chosen.float(), top.float(), labels, 0.6)[:most]
    return Detections(chosen[order], labels[order], top[order])


class _Goal:
    """Verdicts from one forward pass."""

    def __init__(self, model: nn.Module, targets: ObjectBatch, kind: str, threshold: float, floor: float) -> None:
        self.model, self.targets, self.kind, self.threshold, self.floor = model, targets, kind, threshold, floor

    def on(self, model: nn.Module) -> _Goal:
        return _Goal(model, self.targets, self.kind, self.threshold, self.floor)

    def select(self, index: Tensor) -> _Goal:
        return _Goal(self.model, self.targets[index], self.kind, self.threshold, self.floor)

    def __call__(self, images: Tensor) -> Verdict:
        finder, outputs = finder_of(self.model), self.model(images)
        boxes, logits = finder.candidates(outputs)  # (B, A, 4), (B, A, K)
        there = self.targets.there
        over = iou(boxes.detach(), self.targets.boxes) * there[:, None]  # (B, A, N)
        with torch.no_grad():
            seen = self._seen(boxes, logits, over, there)
        if self.kind == "untargeted":
            return Verdict(finder.losses(outputs, self.targets), seen["few"])
        if self.kind == "vanish":
            on = over.amax(2, keepdim=True) >= 0.3 if there.shape[1] else torch.zeros_like(logits[..., :1]).bool()
            value = (F.softplus(logits) * on).flatten(1).sum(1)
            return Verdict(-value / on.flatten(1).sum(1).clamp_min(1), seen["none"])
        if self.kind == "fabricate":
            best = F.logsigmoid(logits.amax(2))  # (B, A)
            off = over.amax(2) < 0.3 if there.shape[1] else torch.ones_like(best, dtype=torch.bool)
            surest = best.masked_fill(~off, -torch.inf).topk(min(16, best.shape[1]), 1).values
            some = surest.isfinite()
            return Verdict(surest.where(some, 0.0).sum(1) / some.sum(1).clamp_min(1), seen["more"])
        return Verdict(self._mislabelled(logits, over), seen["other"])

    def _mislabelled(self, logits: Tensor, over: Tensor) -> Tensor:
        """(B,) the mean over candidates on objects of how far the best other class is ahead of the object's."""
        if not over.shape[2]:
            return logits.flatten(1).sum(1) * 0
        most, owner = over.max(2)  # (B, A)
        label = self.targets.labels.clamp_min(0).gather(1, owner)
        own = logits.gather(2, label[..., None]).squeeze(2)
        others = logits.scatter(2, label[..., None], -torch.inf)
        best = others.amax(2) if logits.shape[2] > 1 else -own
        # Candidates that nobody sees do not matter: each counts with the surest score that it has.
        weight = (most >= OVERLAP) * torch.maximum(own, best).sigmoid().detach()
        return ((best - own).clamp(-20, 20) * weight).sum(1) / weight.sum(1).clamp_min(1e-6)

    def _seen(self, boxes: Tensor, logits: Tensor, over: Tensor, there: Tensor) -> dict[str, Tensor]:
        """(B,) bool for each kind of goal, by the candidates at or above the threshold."""
        sure = logits.sigmoid() >= self.threshold  # (B, A, K)
        count = there.sum(1)
        if not there.shape[1]:
            off = sure.any(2).sum(1)
            none = torch.zeros_like(count, dtype=torch.bool)
            return {"few": off > 0, "none": none, "more": off > 0, "other": none}
        on = over >= OVERLAP  # (B, A, N)
        label = self.targets.labels.clamp_min(0)  # (B, N)
        right = sure.gather(2, label[:, None].expand(-1, sure.shape[1], -1))  # (B, A, N): sure of the object's class
        any_class = sure.any(2, keepdim=True)
        found = (on & right).any(1) & there  # (B, N)
        false = (on & any_class & ~right).any(1) & there
        share = found.sum(1) / count.clamp_min(1)
        off = (any_class.squeeze(2) & ~(over >= 0.3).any(2)).sum(1)
        empty = count == 0
        few = torch.where(empty, off > 0, share < self.floor)
        none = ~found.any(1) & ~empty
        return {"few": few, "none": none, "more": off > count, "other": none & false.any(1)}


class DetectionMetric:
    """COCO's figures by faster-coco-eval: AP, AP50, AP75, of small, medium and large objects, AR, and of each class."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.rows: list[dict[str, Any]] = []
        """For each image its objects and what was found, as plain lists."""

    def update(self, prediction: Sequence[Detections], targets: ObjectBatch) -> None:
        if len(prediction) != len(targets):
            raise ContractError(f"predictions must be as many as targets, {len(targets)}. Got {len(prediction)}.")
        for index, said in enumerate(prediction):
            own = targets.labels[index] != NONE
            self.rows.append(
                {
                    "boxes": targets.boxes[index][own].tolist(),
                    "labels": targets.labels[index][own].tolist(),
                    "crowd": targets.crowd[index][own].tolist(),
                    "found": said.boxes.tolist(),
                    "found_labels": said.labels.tolist(),
                    "scores": said.scores.tolist(),
                }
            )

    def state(self) -> dict[str, Any]:
        return {"rows": list(self.rows)}

    def merge(self, states: Sequence[Mapping[str, Any]]) -> None:
        for state in states:
            self.rows += state["rows"]

    def compute(self) -> dict[str, Any]:
        if not self.rows:
            raise InputError("there are no samples to score. Got 0 images.")
        truth, said = _coco(self.rows, self.classes)
        evaluated = _evaluate(truth, said)
        stats = [float(value) if float(value) >= 0 else None for value in evaluated.stats[:12]]
        names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small",
                 "ar_medium", "ar_large")  # fmt: skip
        figures: dict[str, Any] = dict(zip(names, stats, strict=True))
        for name in ("ap", "ap50"):
            figures[name] = figures[name] or 0.0
        precision = torch.as_tensor(evaluated.eval["precision"])  # (T, R, K, areas, most)
        per_class = []
        for number, name in enumerate(self.classes):
            count = sum(row["labels"].count(number) for row in self.rows)
            own = precision[:, :, number, 0, -1]
            first = precision[0, :, number, 0, -1]
            per_class.append(
                {
                    "name": name,
                    "n": count,
                    "ap": float(own[own > -1].mean()) if bool((own > -1).any()) else None,
                    "ap50": float(first[first > -1].mean()) if bool((first > -1).any()) else None,
                }
            )
        return {"n": len(self.rows), **figures, "per_class": per_class}


def _coco(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The objects and detections as COCO's json has them: boxes as left, top, width, height; numbers from 1."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, row in enumerate(rows, 1):
        for box, label, crowd in zip(row["boxes"], row["labels"], row["crowd"], strict=True):
            wide, high = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": label + 1,
                    "bbox": [box[0], box[1], wide, high], "area": wide * high, "iscrowd": int(crowd),
                }
            )  # fmt: skip
        for box, label, score in zip(row["found"], row["found_labels"], row["scores"], strict=True):
            wide, high = box[2] - box[0], box[3] - box[1]
            results.append(
                {"image_id": image, "category_id": label + 1, "bbox": [box[0], box[1], wide, high], "score": score}
            )
    truth = {
        "images": [{"id": number} for number in range(1, len(rows) + 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
    }
    return truth, results


def _evaluate(truth: dict[str, Any], said: list[dict[str, Any]]) -> Any:
    import contextlib
    import io

    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        found = known.loadRes(said) if said else known.loadRes([_NOTHING])
        evaluation = COCOeval_faster(known, found, iouType="bbox", print_function=lambda *_: None)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


_NOTHING = {"image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 0.0, 0.0], "score": 0.0}
"""In place of no detection at all, of which COCO's format cannot speak."""

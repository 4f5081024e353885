"""Scenes in which each pixel belongs to one segment, a thing or stuff; and how good they are: panoptic quality.

Kirillov, He, Girshick, Rother and Dollár, "Panoptic segmentation" (CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stalwart.core.contracts import Objects
from stalwart.core.errors import ContractError, InputError
from stalwart.core.finding import Detections
from stalwart.core.places import VOID
from stalwart.core.rng import generator

RESAMPLES = 200
"""Bootstrap resamples of the images for the interval of the panoptic quality."""
MATCHED = 0.5
"""Two segments of one class whose IoU is above this are the same; there is at most one such pair (section 4.1)."""


@dataclass(frozen=True)
class Scene:
    """One image's segments."""

    ids: Tensor
    """(H, W) int64: the segment that a pixel belongs to, from 1; 0 for none."""
    labels: Tensor
    """(n,) int64: the class of segments 1..n."""
    scores: Tensor
    """(n,) in [0, 1]: of things how sure they are, of stuff 1."""
    crowd: Tensor
    """(n,) bool: a region of many things, which is not counted against a prediction."""


def merged(found: Detections, semantic: Tensor, stuff: Collection[int], threshold: float, overlap: float) -> Scene:
    """One scene of detections with masks and a map of classes (H, W).

    Things are laid down by their scores, each where nothing lies yet; one of which less than `overlap` can be seen is
    left out. What they leave belongs to stuff by the map (Kirillov et al., "Panoptic feature pyramid networks", CVPR
    2019, section 3). Where the map says a thing, yet none was found, nothing is.

    Args:
        stuff: classes that have no instances.
        threshold: the score below which a thing is not looked at.
    """
    assert found.masks is not None
    ids = torch.zeros(semantic.shape, dtype=torch.int64, device=semantic.device)
    labels: list[int] = []
    scores: list[float] = []
    for place in found.scores.argsort(descending=True, stable=True).tolist():
        score, label = float(found.scores[place]), int(found.labels[place])
        if score < threshold or label in stuff:
            continue
        mask = found.masks[place]
        free = mask & (ids == 0)
        seen = int(free.sum())
        if not seen or seen < overlap * int(mask.sum()):
            continue
        labels.append(label)
        scores.append(score)
        ids[free] = len(labels)
    return _with_stuff(ids, labels, scores, [False] * len(labels), semantic, stuff)


def truth(objects: Objects, stuff: Collection[int]) -> Scene:
    """The scene of a target. Of masks that overlap the later lies above; pixels of things without a mask count for
    nothing.

    Raises:
        InputError: a target without masks or without a semantic map.
    """
    if objects.semantic is None or (objects.masks is None and len(objects)):
        missing = "semantic map" if objects.semantic is None else "masks"
        raise InputError(f"a panoptic target needs masks and a semantic map. Got no {missing}.")
    ids = torch.zeros(objects.semantic.shape, dtype=torch.int64, device=objects.semantic.device)
    if objects.masks is not None:
        for number, mask in enumerate(objects.masks, 1):
            ids[mask] = number
    crowd = [False] * len(objects) if objects.crowd is None else objects.crowd.tolist()
    return _with_stuff(ids, objects.labels.tolist(), [1.0] * len(objects), crowd, objects.semantic, stuff)


def _with_stuff(
    ids: Tensor, labels: list[int], scores: list[float], crowd: list[bool], semantic: Tensor, stuff: Collection[int]
) -> Scene:
    """The things and, where there are none, a segment for each class of stuff that the map has."""
    labels, scores, crowd = list(labels), list(scores), list(crowd)
    left = ids == 0
    for label in sorted(stuff):
        own = left & (semantic == label)
        if bool(own.any()):
            labels.append(label)
            scores.append(1.0)
            crowd.append(False)
            ids = torch.where(own, len(labels), ids)
    return Scene(ids, torch.tensor(labels, dtype=torch.int64), torch.tensor(scores), torch.tensor(crowd).bool())


def counted(said: Scene, true: Scene, classes: int) -> Tensor:
    """(4, K) float64: the sum of the IoU of matched segments, how many are matched, how many of the prediction's are
    not, and how many of the truth's, class by class.

    As the authors' panopticapi has it: pixels that are void in the truth do not count to a segment's area; a segment
    that is for more than half void, or a crowd of its class, is no mistake; nor is a crowd that is not found.
    """
    n, m = len(said.labels), len(true.labels)
    pairs = torch.bincount((said.ids * (m + 1) + true.ids).flatten(), minlength=(n + 1) * (m + 1)).cpu()
    table = pairs.view(n + 1, m + 1).double()
    shared, void = table[1:, 1:], table[1:, 0]  # (n, m), (n,)
    area, theirs = table[1:].sum(1), table[:, 1:].sum(0)
    iou = shared / (area[:, None] + theirs - shared - void[:, None]).clamp_min(1)
    same = said.labels[:, None] == true.labels
    match = (iou > MATCHED) & same & ~true.crowd  # at most one in each row and column
    excused = void + (shared * (same & true.crowd)).sum(1) > MATCHED * area
    figures = torch.zeros(4, classes, dtype=torch.float64)
    figures[0].index_add_(0, true.labels, (iou * match).sum(0))
    figures[1].index_add_(0, true.labels, match.sum(0).double())
    # A segment of which the picture shows nothing is none.
    figures[2].index_add_(0, said.labels, (~match.any(1) & ~excused & (area > 0)).double())
    figures[3].index_add_(0, true.labels, (~match.any(0) & ~true.crowd & (theirs > 0)).double())
    return figures


class PanopticMetric:
    """PQ = SQ × RQ: how well matched segments agree, times how many are matched; of all, of things and of stuff."""

    def __init__(self, classes: Sequence[str], stuff: Collection[int]) -> None:
        self.classes, self.stuff = tuple(classes), frozenset(stuff)
        self.rows: list[Tensor] = []
        """For each image what `counted` gives."""

    def update(self, prediction: Sequence[Scene], targets: Any) -> None:
        """`targets` an `ObjectBatch` with masks and semantic maps."""
        if len(prediction) != len(targets):
            raise ContractError(f"predictions must be as many as targets, {len(targets)}. Got {len(prediction)}.")
        for row, said in enumerate(prediction):
            true = truth(targets.of(row), self.stuff)
            highest = int(true.labels.max()) if len(true.labels) else -1
            if highest >= len(self.classes):
                raise InputError(f"targets must lie in 0..{len(self.classes) - 1} or be {VOID}. Got {highest}.")
            self.rows.append(counted(said, true, len(self.classes)))

    def state(self) -> dict[str, Any]:
        none = torch.zeros(0, 4, len(self.classes), dtype=torch.float64)
        return {"rows": torch.stack(self.rows) if self.rows else none}

    def merge(self, states: Sequence[Mapping[str, Any]]) -> None:
        for state in states:
            self.rows += list(state["rows"])

    def compute(self) -> dict[str, Any]:
        """`pq`, `sq`, `rq` and the same of `things` and `stuff`: means over the classes that there are, None where
        there is none; and of each class."""
        if not self.rows:
            raise InputError("there are no samples to score. Got 0 images.")
        rows = torch.stack(self.rows)  # (n, 4, K)
        each, there = _qualities(rows.sum(0))  # (3, K), (K,)
        is_stuff = torch.tensor([number in self.stuff for number in range(len(self.classes))])
        figures: dict[str, Any] = {"n": len(rows)}
        for suffix, of in (("", there), ("_things", there & ~is_stuff), ("_stuff", there & is_stuff)):
            for name, values in zip(("pq", "sq", "rq"), each, strict=True):
                figures[name + suffix] = float(values[of].mean()) if bool(of.any()) else None
        figures["pq"] = figures["pq"] or 0.0
        figures["per_class"] = [
            {
                "name": name,
                "n": int(rows[:, 1, number].sum() + rows[:, 3, number].sum()),
                **{
                    key: float(each[row, number]) if there[number] else None
                    for row, key in enumerate(("pq", "sq", "rq"))
                },
            }
            for number, name in enumerate(self.classes)
        ]
        draws = torch.randint(len(rows), (RESAMPLES, len(rows)), generator=generator("pq"))
        means = torch.stack([_mean_quality(rows[draw].sum(0)) for draw in draws]).sort().values
        figures["intervals"] = {"pq": (float(means[RESAMPLES // 40]), float(means[-1 - RESAMPLES // 40]))}
        return figures


def _qualities(total: Tensor) -> tuple[Tensor, Tensor]:
    """(3, K) PQ, SQ and RQ of the sums (4, K), 0 where nothing is matched; (K,) whether there is such a class."""
    iou, matched, wrong, missed = total
    count = matched + (wrong + missed) / 2
    sq, rq = iou / matched.clamp_min(1), matched / count.clamp_min(0.5)
    return torch.stack([sq * rq, sq, rq]), count > 0


def _mean_quality(total: Tensor) -> Tensor:
    each, there = _qualities(total)
    return each[0][there].mean() if bool(there.any()) else torch.zeros((), dtype=torch.float64)

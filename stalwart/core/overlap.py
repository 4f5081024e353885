"""How well index masks agree: mean IoU with its interval, pixel accuracy, boundary F, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core.errors import ContractError, InputError
from stalwart.core.places import VOID
from stalwart.core.rng import generator

RESAMPLES = 200
"""Bootstrap resamples of the images for the interval of the mean IoU."""
TOLERANCE = 0.0075
"""How far apart two boundaries may lie and still agree, as a share of the image's diagonal (Csurka et al. 2013)."""


class MapMetric:
    """Mean IoU with its interval, IoU and accuracy of each class, pixel accuracy, boundary F, confusion."""

    def __init__(self, classes: Sequence[str]) -> None:
        k = len(classes)
        self.classes = tuple(classes)
        self.confusion = torch.zeros(k, k, dtype=torch.int64)
        """Rows: the truth, columns: the prediction."""
        self.shared: list[Tensor] = []
        """For each image (2, K) int64: intersections, and unions of truth and prediction."""
        self.edges: list[float] = []
        """For each image the boundary F."""

    def update(self, prediction: Tensor, targets: Tensor) -> None:
        """`prediction` and `targets` (B, H, W) class indices; 255 in the targets is left out."""
        k = len(self.classes)
        if prediction.shape != targets.shape:
            raise ContractError(f"predictions must have shape {tuple(targets.shape)}. Got {tuple(prediction.shape)}.")
        for said, truth in zip(prediction.detach().long(), targets.detach().long(), strict=True):
            counts = truth != VOID
            inside = truth[counts]
            if inside.numel() and int(inside.max()) >= k:
                raise InputError(f"targets must lie in 0..{k - 1} or be {VOID}. Got {int(inside.max())}.")
            table = torch.bincount(inside * k + said[counts], minlength=k * k).view(k, k).cpu()
            self.confusion += table
            own = table.diagonal()
            self.shared.append(torch.stack([own, table.sum(0) + table.sum(1) - own]))
            self.edges.append(boundary_f(said, truth))

    def state(self) -> dict[str, Any]:
        shared = torch.stack(self.shared) if self.shared else torch.zeros(0, 2, len(self.classes), dtype=torch.int64)
        return {"confusion": self.confusion, "shared": shared, "edges": list(self.edges)}

    def merge(self, states: Sequence[Mapping[str, Any]]) -> None:
        for state in states:
            self.confusion = self.confusion + state["confusion"]
            self.shared += list(state["shared"])
            self.edges += list(state["edges"])

    def compute(self) -> dict[str, Any]:
        if not self.shared:
            raise InputError("there are no samples to score. Got 0 images.")
        shared = torch.stack(self.shared)  # (n, 2, K)
        rows, own = self.confusion.sum(1), self.confusion.diagonal()
        total = shared.sum(0)
        each = [float(total[0, i] / total[1, i]) if total[1, i] else None for i in range(len(self.classes))]
        edges = torch.tensor([value for value in self.edges if value == value])
        draws = torch.randint(len(shared), (RESAMPLES, len(shared)), generator=generator("miou"))
        means = torch.stack([_mean_iou(shared[draw].sum(0)) for draw in draws]).sort().values
        return {
            "n": len(shared),
            "miou": float(_mean_iou(total)),
            "pixel_accuracy": float(own.sum() / rows.sum().clamp_min(1)),
            "boundary_f": float(edges.mean()) if len(edges) else 0.0,
            "per_class": [
                {
                    "name": name,
                    "n": int(rows[i]),
                    "iou": each[i],
                    "accuracy": float(own[i] / rows[i]) if rows[i] else None,
                }
                for i, name in enumerate(self.classes)
            ],
            "confusion": self.confusion.tolist(),
            "intervals": {"miou": (float(means[RESAMPLES // 40]), float(means[-1 - RESAMPLES // 40]))},
        }


def _mean_iou(total: Tensor) -> Tensor:
    """The mean over the classes that are there of intersection over union, from (2, K)."""
    there = total[1] > 0
    return (total[0][there].double() / total[1][there].double()).mean() if bool(there.any()) else torch.tensor(0.0)


def boundary_f(said: Tensor, truth: Tensor) -> float:
    """The F-measure of the boundaries of two index masks (H, W), those next to void left out; NaN without any.

    Csurka et al., "What is a good evaluation measure for semantic segmentation?" (BMVC 2013): a boundary pixel agrees
    if the other mask has one within 0.75 % of the diagonal.
    """
    radius = max(1, round(TOLERANCE * float(said.shape[0] ** 2 + said.shape[1] ** 2) ** 0.5))
    counts = truth != VOID
    filled = torch.where(counts, said, truth)
    first, second = _border(filled, counts), _border(truth, counts)
    if not bool(first.any() | second.any()):
        return float("nan")
    near_first, near_second = _grown(first, radius), _grown(second, radius)
    precision = float((first & near_second).sum() / first.sum().clamp_min(1))
    recall = float((second & near_first).sum() / second.sum().clamp_min(1))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _border(mask: Tensor, counts: Tensor) -> Tensor:
    """(H, W) bool: pixels whose right or lower neighbour is of another class, both of which count."""
    border = torch.zeros_like(counts)
    border[:, :-1] |= (mask[:, :-1] != mask[:, 1:]) & counts[:, :-1] & counts[:, 1:]
    border[:-1] |= (mask[:-1] != mask[1:]) & counts[:-1] & counts[1:]
    return border


def _grown(border: Tensor, radius: int) -> Tensor:
    """All pixels within `radius` (a square's half side) of a boundary pixel."""
    grown: Tensor = F.max_pool2d(border[None, None].float(), 2 * radius + 1, 1, radius)[0, 0] > 0
    return grown

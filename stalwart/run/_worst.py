"""Each image's worst point, where an image can be spoiled more or less (`Verdict.harm`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stalwart.core.contracts import Info, Task, Verdict


@dataclass(frozen=True)
class Standing:
    """How badly each of some samples stands: by its harm and, where that is the same, by its loss."""

    harm: Tensor
    """(B,) float32; −inf where nothing was seen yet."""
    loss: Tensor
    """(B,) float32"""

    @classmethod
    def untouched(cls, count: int, device: torch.device) -> Standing:
        never = torch.full((count,), -torch.inf, device=device)
        return cls(never, never.clone())

    @classmethod
    def of(cls, verdict: Verdict) -> Standing:
        assert verdict.harm is not None
        return cls(verdict.harm.detach().float(), verdict.loss.detach().float())

    def __getitem__(self, index: Tensor) -> Standing:
        return Standing(self.harm[index], self.loss[index])

    def put(self, index: Tensor, other: Standing) -> None:
        """Write `other` (b,) to the places `index` (b,)."""
        self.harm[index], self.loss[index] = other.harm, other.loss

    def over(self, other: Standing) -> Tensor:
        """(B,) bool: is this worse than the other? What is not a number never is."""
        return (self.harm > other.harm) | ((self.harm == other.harm) & (self.loss > other.loss))


class Worst:
    """The worst image of each sample among those it is shown.

    Args:
        images: (B, C, H, W) what each sample is to begin with.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.detach().clone()
        self.standing = Standing.untouched(len(images), images.device)

    def see(self, images: Tensor, standing: Standing, index: Tensor) -> Tensor:
        """(b,) bool: which of `images` (b, C, H, W), of samples `index` (b,), are the worst so far; they are kept."""
        worse = standing.over(self.standing[index])
        place = index[worse]
        self.images[place] = images.detach()[worse].to(self.images.dtype)
        self.standing.put(place, standing[worse])
        return worse


def measured(task: Task, info: Info, states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the task's own metric, from what it gathered of several batches."""
    metric = task.metric(info)
    metric.merge(states)
    return metric.compute()


def compared(score: str, figures: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a result says of the metric at each radius, the clean images first: the whole, and one entry a radius.

    Args:
        score: the figure that speaks for the others.
    """
    entries: list[dict[str, Any]] = []
    for found in figures:
        plain = {key: value for key, value in found.items() if isinstance(value, int | float) and key != "n"}
        entry: dict[str, Any] = {"score": found[score], "figures": plain}
        if score in found.get("intervals", {}):
            entry["score_interval"] = list(found["intervals"][score])
        entries.append(entry)
    classes = [
        {"name": clean["name"], "n": clean["n"], "clean": _figures(clean), "robust": _figures(robust)}
        for clean, robust in zip(figures[0].get("per_class", []), figures[-1].get("per_class", []), strict=True)
    ]
    whole = {"score": score, "clean_score": entries[0]["score"], "robust_score": entries[-1]["score"],
             "classes": classes}  # fmt: skip
    return whole, entries


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("name", "n")}

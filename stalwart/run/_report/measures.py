"""The figure that speaks for a task: the share of right answers, or what a task has in its place (mIoU, AP50)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stalwart.pages.numbers import NBSP, percent, span, spoken
from stalwart.run._report.values import Interval, items, real, share, text, whole

SHARE = "top1"
"""The figure that is spoken of as being right."""
MOST_CLASSES = 2000


@dataclass(frozen=True)
class Measure:
    """One figure in [0, 1]."""

    kind: str
    """Its name among a task's figures; `top1` for the share of right answers."""
    value: float
    interval: Interval | None = None

    @property
    def name(self) -> str:
        """As a heading: 'right', 'mIoU', 'AP50'."""
        return "right" if self.kind == SHARE else spoken(self.kind)

    @property
    def heading(self) -> str:
        """The same at the beginning of a line."""
        return "Right" if self.kind == SHARE else spoken(self.kind)

    @property
    def keeps(self) -> str:
        """What a model does that has it: 'stays right on 71.0 % of attacked images'."""
        if self.kind == SHARE:
            return f"stays right on {percent(self.value)} of attacked images"
        return f"keeps {self.phrase} on attacked images"

    @property
    def phrase(self) -> str:
        """'right on 71.0 %', 'an mIoU of 45.0 %'."""
        if self.kind == SHARE:
            return f"right on {percent(self.value)}"
        return f"an {self.name} of {percent(self.value)}"  # all of these names are spoken with a vowel first

    @property
    def within(self) -> str:
        """' (95 % interval 70.1 to 71.9 %)', or nothing where there is none."""
        return "" if self.interval is None else f" (95{NBSP}% interval {span(self.interval)})"


def given(value: Any) -> Interval | None:
    """An interval as a file has it, or None where it has none."""
    if isinstance(value, list) and len(value) == 2:
        ends = {"low": value[0], "high": value[1]}
        low, high = share(ends, "low"), share(ends, "high")
        if low is not None and high is not None and low <= high:
            return low, high
    return None


def measured_interval(intervals: Any, kind: str) -> Interval | None:
    """That of the figure `kind`, of a result's `intervals`."""
    return given(intervals.get(kind)) if isinstance(intervals, Mapping) else None


@dataclass(frozen=True)
class ClassFigures:
    """One class's figures by name, clean and (of an attack) attacked."""

    name: str
    n: int
    clean: Mapping[str, float]
    robust: Mapping[str, float]


@dataclass(frozen=True)
class Graded:
    """What the task's own metric says of an attack: of each image at the worst point that was found."""

    clean: Measure
    robust: Measure
    points: tuple[tuple[float, Measure], ...]
    """ε and the figure there, ascending."""
    figures: tuple[tuple[str, float, float], ...]
    """Every figure that is known of both: its name, clean, attacked."""
    classes: tuple[ClassFigures, ...]


def graded(raw: Mapping[str, Any]) -> Graded | None:
    """What an attack's result says of the task's metric; None where it says nothing."""
    kind = text(raw, "score")
    curve = [item for item in items(raw, "curve")[:1000] if real(item, "epsilon") is not None]
    curve.sort(key=lambda item: real(item, "epsilon") or 0.0)
    points = []
    for item in curve:
        value = share(item, "score")
        if value is not None:
            points.append((real(item, "epsilon") or 0.0, Measure(kind, value, given(item.get("score_interval")))))
    clean, robust = share(raw, "clean_score"), share(raw, "robust_score")
    if not kind or clean is None or robust is None:
        return None
    first = next((one for at, one in points if at == 0), Measure(kind, clean))
    last = points[-1][1] if points else Measure(kind, robust)
    before, after = (_shares(item.get("figures")) for item in (curve[0], curve[-1])) if curve else ({}, {})
    classes = [
        ClassFigures(text(row, "name") or f"class {place}", whole(row, "n") or 0, _shares(row.get("clean")),
                    _shares(row.get("robust")))
        for place, row in enumerate(items(raw, "classes")[:MOST_CLASSES])
        if isinstance(row, Mapping)
    ]  # fmt: skip
    return Graded(
        Measure(kind, clean, first.interval), Measure(kind, robust, last.interval), tuple(points),
        tuple((name, before[name], after[name]) for name in before if name in after), tuple(classes),
    )  # fmt: skip


def class_figures(raw: list[Any]) -> tuple[ClassFigures, ...]:
    """The rows of a metric's table of classes, where they have other figures than shares of right answers."""
    rows = []
    for place, item in enumerate(raw[:MOST_CLASSES]):
        if isinstance(item, Mapping):
            name = text(item, "name") or f"class {place}"
            rows.append(ClassFigures(name, whole(item, "n") or 0, _shares({k: item[k] for k in item if k != "n"}), {}))
    return tuple(rows)


def _shares(source: Any) -> dict[str, float]:
    if not isinstance(source, Mapping):
        return {}
    return {str(key): value for key in source if (value := share(source, key)) is not None}

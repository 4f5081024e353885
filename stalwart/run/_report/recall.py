"""Precision against recall at an IoU of a half, class by class: what each further object found costs in false ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stalwart.pages import charts
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Html, clean
from stalwart.pages.numbers import percent
from stalwart.run._report.values import is_share

MOST_POINTS = 1001
FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

Curves = tuple[tuple[float, ...], ...]


def recalled(raw: Sequence[Any], classes: int) -> Curves:
    """The precisions at even steps of recall from 0 to 1, of each class in the order of its index; () for a class
    without objects, and nothing at all where `raw` is no such table."""
    if len(raw) != classes or not all(isinstance(row, list) and len(row) <= MOST_POINTS for row in raw):
        return ()
    if not all(is_share(value) for row in raw for value in row):
        return ()
    return tuple(tuple(map(float, row)) if len(row) > 1 else () for row in raw)


def chart(names: Sequence[str], curves: Curves) -> Html:
    """A line for each class or, where they are more than there are colours, their mean and the weakest. The area under
    a line is the class's AP50."""
    known = sorted(((sum(row) / len(row), name, row) for name, row in zip(names, curves, strict=True) if row),
                   key=lambda one: one[:2])  # fmt: skip
    if not known:
        return Html("")
    shown = [(f"{clean(name, 40)}, AP50 {percent(area)}", row) for area, name, row in known]
    if len(known) > charts.TONES:
        even = [row for _, _, row in known if len(row) == len(known[0][2])]
        mean = tuple(sum(values) / len(even) for values in zip(*even, strict=True))
        shown = [(f"mean of {len(even)} classes, AP50 {percent(sum(mean) / len(mean))}", mean), *shown]
    lines = [
        Line(label, _corners(row), tone=tone, dash=tone % 3) for tone, (label, row) in enumerate(shown[: charts.TONES])
    ]
    x = Axis("recall: objects that are found", _ticks, 0.0, 1.0, FIFTHS)
    y = Axis("precision: detections that are right", _ticks, 0.0, 1.0, FIFTHS)
    return charts.lines("Precision and recall at an IoU of 0.5", lines, x, y, size=(500, 310))


def _corners(row: Sequence[float]) -> list[tuple[float, float]]:
    """(recall, precision) without the places between two of the same precision: a curve is made of level stretches."""
    last = len(row) - 1
    kept = [at for at in range(last + 1) if at in (0, last) or not row[at - 1] == row[at] == row[at + 1]]
    return [(at / last, row[at]) for at in kept]


def _ticks(value: float) -> str:
    return percent(value, 0)

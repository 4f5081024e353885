"""The transfer matrix in the report: whether images made against one model fool another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from stalwart.pages import charts
from stalwart.pages.html import Child, Html, clean, folded, table, tag
from stalwart.pages.numbers import NBSP, count, percent
from stalwart.run._report.values import Interval, interval_of, items, text, whole

MOST_RUNS = 20


@dataclass(frozen=True)
class Transfers:
    """How each of several models fares on images made against each."""

    attack: str
    threat: str
    split: str
    n: int
    runs: tuple[str, ...]
    untouched: tuple[float, ...]
    accuracy: tuple[tuple[float, ...], ...]
    """accuracy[i][j]: of model j, on the images made against model i."""
    intervals: tuple[tuple[Interval, ...], ...]


def transferred(raw: Mapping[str, Any]) -> Transfers | None:
    """A transfer's result as a run's `results/` holds it, or None where it lacks its main figures."""
    n, attack, threat = whole(raw, "n"), text(raw, "attack"), text(raw, "threat")
    paths = [item for item in items(raw, "runs") if isinstance(item, str)][:MOST_RUNS]
    k = len(paths)
    untouched, rows, given = _shares(raw.get("untouched"), k), items(raw, "accuracy"), items(raw, "intervals")
    accuracy = [_shares(row, k) for row in rows]
    if not n or not attack or not threat or k < 2 or untouched is None or len(rows) != k or None in accuracy:
        return None
    known = tuple(row for row in accuracy if row is not None)
    ends = [
        given[i] if i < len(given) and isinstance(given[i], list) and len(given[i]) == k else [None] * k
        for i in range(k)
    ]
    intervals = tuple(
        tuple(interval_of(end, value, n) for end, value in zip(ends[i], row, strict=True))
        for i, row in enumerate(known)
    )
    names = [PurePath(path).name or path for path in paths]
    runs = tuple(name if names.count(name) == 1 else path for name, path in zip(names, paths, strict=True))
    return Transfers(attack, threat, text(raw, "split") or "unknown", n, runs, untouched, known, intervals)


def _shares(raw: Any, k: int) -> tuple[float, ...] | None:
    """k shares in [0, 1]; None where they are something else."""
    if not isinstance(raw, list) or len(raw) != k:
        return None
    good = all(isinstance(item, int | float) and not isinstance(item, bool) and 0 <= item <= 1 for item in raw)
    return tuple(float(item) for item in raw) if good else None


def said(item: Transfers) -> str:
    """The strongest transfer, in a sentence."""
    k = len(item.runs)
    pairs = [(item.untouched[j] - item.accuracy[i][j], i, j) for i in range(k) for j in range(k) if i != j]
    lost, i, j = max(pairs, key=lambda pair: (pair[0], -pair[1], -pair[2]))
    return (
        f"Images made against {item.runs[i]} by {item.attack} within {item.threat} bring {item.runs[j]}, which their "
        f"maker never saw, from {percent(item.untouched[j])} to {percent(item.accuracy[i][j])} right on "
        f"{count(item.n)} images{'' if lost > 0.02 else ': nearly nothing passes over from one model to another'}."
    )


def body(found: Sequence[Transfers]) -> Html:
    """A heat table for each attack."""
    parts: list[Child] = [
        tag(
            "p",
            "Images are made against the model of the row, without a look at any other, and every model is asked about "
            "them. A cell is the share that the model of its column still answers rightly; on the diagonal a model "
            "meets what was made against itself. The first row is the images as they are.",
            class_="about",
        )
    ]
    for item in found:
        names = [clean(name, 60) for name in item.runs]
        values = [item.untouched, *item.accuracy]
        title = f"{clean(item.attack, 60)} within {clean(item.threat, 40)}, n{NBSP}={NBSP}{count(item.n)}"
        rows: list[list[Child]] = [["untouched", *(percent(value) for value in item.untouched)]]
        for name, row, intervals in zip(names, item.accuracy, item.intervals, strict=True):
            cells = [
                f"{percent(value)} ({100 * low:.1f} to {100 * high:.1f})"
                for value, (low, high) in zip(row, intervals, strict=True)
            ]
            rows.append([name, *cells])
        parts.append(tag("div", charts.shares(title, ["untouched", *names], names, values), class_="plots two"))
        parts.append(
            folded("These figures with their 95 % intervals", table(["made against", *names], rows, caption=title))
        )
    return tag("div", parts)

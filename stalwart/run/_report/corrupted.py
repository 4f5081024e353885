"""The corruption benchmark in the report: errors by kind and severity, and their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stalwart.pages import charts
from stalwart.pages.html import Child, Html, folded, table, tag
from stalwart.pages.numbers import count, percent, spoken
from stalwart.run._report.measures import SHARE
from stalwart.run._report.values import items, real, share, text, whole

MOST_KINDS = 40


@dataclass(frozen=True)
class Kind:
    """One corruption."""

    name: str
    errors: tuple[float, ...]
    """By severity."""
    error: float
    ce: float | None
    """The corruption error: the errors' sum over the baseline's; None without a baseline."""


@dataclass(frozen=True)
class Corrupted:
    """What the benchmark measured on one split."""

    split: str
    n: int
    severities: tuple[int, ...]
    clean: float
    mean: float
    mce: float | None
    relative: float | None
    baseline: str
    constants: str
    kinds: tuple[Kind, ...]
    score: str = SHARE
    """The task's figure that an error is one less of."""

    @property
    def name(self) -> str:
        """What is shown: the error of classification, the figure itself of a dense task."""
        return "error" if self.score == SHARE else spoken(self.score)

    def shown(self, error: float) -> float:
        return error if self.score == SHARE else 1 - error


def corrupted(raw: Mapping[str, Any]) -> Corrupted | None:
    """The benchmark as a run's `results/` holds it, or None where it lacks its main figures."""
    n, clean, mean = whole(raw, "n"), share(raw, "clean_error"), share(raw, "mean_error")
    levels = tuple(level for level in items(raw, "severities") if type(level) is int and 1 <= level <= 5)
    kinds = []
    for item in items(raw, "kinds")[:MOST_KINDS]:
        name, error = text(item, "name"), share(item, "error")
        errors = [share({"error": value}, "error") for value in items(item, "errors")]
        known = tuple(value for value in errors if value is not None)
        if name and error is not None and len(known) == len(levels):
            kinds.append(Kind(name, known, error, real(item, "ce")))
    if not n or clean is None or mean is None or not levels or not kinds:
        return None
    return Corrupted(
        text(raw, "split") or "unknown", n, levels, clean, mean, real(raw, "mce"), real(raw, "relative_mce"),
        text(raw, "baseline"), text(raw, "constants"), tuple(kinds), text(raw, "score") or SHARE,
    )  # fmt: skip


def corruption(name: str) -> str:
    """A corruption's name as people write it."""
    return name.replace("_", " ").replace("jpeg", "JPEG")


def body(found: Sequence[Corrupted]) -> Html:
    """Everything of the benchmark, the splits one after the other."""
    return tag("div", [_one(item) for item in found])


def _one(item: Corrupted) -> Html:
    worst = max(item.kinds, key=lambda kind: kind.error)
    said = (
        f"On {count(item.n)} images of the {item.split} split the {item.name} is {percent(item.shown(item.clean))} "
        f"untouched and {percent(item.shown(item.mean))} on average over {len(item.kinds)} common corruptions; "
        f"{corruption(worst.name)} hurts most ({percent(item.shown(worst.error))})."
    )
    if item.mce is not None:
        said += f" Relative to {item.baseline} the mean corruption error (mCE) is {percent(item.mce)}"
        said += f", and {percent(item.relative)} where each clean error is taken off first." if item.relative else "."
    else:
        said += " This is a plain mean: a mean corruption error (mCE) is taken relative to a baseline run."
    about = "The corruptions are those of ImageNet-C (Hendrycks and Dietterich 2019)"
    about += f", with their constants for {item.constants}" if item.constants else ""
    about += "; frost is drawn, not photographed."
    names = [corruption(kind.name) for kind in item.kinds]
    title = f"{'Error' if item.score == SHARE else item.name} by corruption and severity"
    grid = charts.grid(
        title, names, [str(level) for level in item.severities],
        [[item.shown(error) for error in kind.errors] for kind in item.kinds],
    )  # fmt: skip
    head: list[Child] = ["corruption", *(f"severity {level}" for level in item.severities), "mean"]
    rows: list[list[Child]] = []
    for kind in item.kinds:
        row: list[Child] = [corruption(kind.name), *(percent(item.shown(error)) for error in kind.errors)]
        row.append(percent(item.shown(kind.error)))
        rows.append([*row, percent(kind.ce) if kind.ce is not None else "–"] if item.mce is not None else row)
    if item.mce is not None:
        head.append("CE")
    figures = folded("The figures of this chart", table(head, rows, caption=title))
    return tag("div", tag("p", said), tag("p", about, class_="about"), grid, figures)

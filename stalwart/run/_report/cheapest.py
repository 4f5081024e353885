"""The cheapest adversarial example of each image over all attacks, and what all attacks together leave standing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stalwart.core.errors import InputError
from stalwart.core.statistics import wilson
from stalwart.pages import charts
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Child, Html, clean, table, tag
from stalwart.pages.numbers import NBSP, count, percent, radius, span
from stalwart.run._report.values import Interval
from stalwart.store.checkpoint import load_tensors

if TYPE_CHECKING:
    from stalwart.run._report.record import Attacked

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Parts of the images for which the report says how small a change spoils them."""
POINTS = 60
"""Radii of a curve."""


@dataclass(frozen=True)
class Outcomes:
    """What became of each image under one attack."""

    position: Tensor
    """(n,) int64, where it stands in the split; ascending."""
    size: Tensor
    """(n,) float64, the smallest change that was found: 0 for one that is wrong untouched, inf where it stands."""


def outcomes(path: Path) -> Outcomes | None:
    """The outcomes that an attack's result keeps beside it; None where there are none, or none that make sense."""
    try:
        kept = load_tensors(path)
        position, size = kept["position"], kept["size"].double()
    except (InputError, KeyError, OSError, ValueError):
        return None
    good = position.ndim == 1 and position.shape == size.shape and position.dtype == torch.int64 and len(position) > 0
    if not good or bool(size.isnan().any()) or bool((size < 0).any()) or bool((position.diff() <= 0).any()):
        return None
    return Outcomes(position, size)


@dataclass(frozen=True)
class Cheapest:
    """All attacks on the same images within one threat."""

    threat: str
    split: str
    epsilon: float
    in_levels: bool
    attacks: tuple[str, ...]
    sizes: Tensor
    """(attacks, n) float64."""

    @property
    def least(self) -> Tensor:
        """(n,) the smallest change over all attacks."""
        return self.sizes.amin(0)

    @property
    def n(self) -> int:
        return self.sizes.shape[1]

    @property
    def robust(self) -> float:
        """The share of images that stand every attack."""
        return standing(self.least, self.epsilon)

    @property
    def interval(self) -> Interval:
        return wilson(round(self.robust * self.n), self.n)


def standing(sizes: Tensor, epsilon: float) -> float:
    """The share of images that no found change of at most ε spoils; float32 and rounding leave a little room."""
    return float((sizes > epsilon * (1 + 1e-4) + 1e-6).double().mean())


def within(attacks: Sequence[Attacked]) -> list[Cheapest]:
    """For each threat and split the attacks on it, on the images that all of them were run on."""
    groups: dict[tuple[str, str, str, str], list[tuple[Attacked, Outcomes]]] = {}
    for item in attacks:
        if item.outcomes is not None:
            groups.setdefault((item.threat, item.split, item.data, item.checkpoint), []).append((item, item.outcomes))
    found = []
    for (threat, split, _, _), group in groups.items():
        common = set(group[0][1].position.tolist())
        for _, own in group[1:]:
            common &= set(own.position.tolist())
        if not common:
            continue
        wanted = torch.tensor(sorted(common))
        sizes = torch.stack([own.size[torch.isin(own.position, wanted)] for _, own in group])
        names = tuple(f"{item.attack}{f' ({item.goal})' if item.goal else ''}" for item, _ in group)
        first = group[0][0]
        found.append(Cheapest(threat, split, first.epsilon, first.in_levels, names, sizes))
    return found


def said(item: Cheapest) -> str:
    """What all attacks together say, in a sentence or two."""
    right = item.least[item.least > 0]
    text = (
        f"Together, {len(item.attacks)} attacks within {item.threat} leave {percent(item.robust)} of {count(item.n)} "
        f"images right (95{NBSP}% interval {span(item.interval)})"
        if len(item.attacks) > 1
        else ""
    )
    fell = right[right.isfinite()]
    if len(fell) * 2 >= len(right) > 0:
        half = _size(float(right.sort().values[(len(right) - 1) // 2]), item)
        more = f"half of the images that are right untouched fall to a change of {half} or less"
        text = f"{text}; {more}" if text else f"Within {item.threat}, {more}"
    return f"{text}." if text else ""


def _size(size: float, item: Cheapest) -> str:
    return f"{255 * size:.2g}/255" if item.in_levels else radius(size, False)


def body(found: Sequence[Cheapest], ticks: Sequence[float], show: Callable[[float], str]) -> Html:
    """Curves and quantiles of the smallest change.

    Args:
        ticks: marks of the share axis.
        show: a share as text.
    """
    parts: list[Child] = [
        tag(
            "p",
            "For each image the smallest change, over all attacks within a threat, that spoils the answer. An image "
            "counts as standing at ε only if every attack failed there, so the first curve is what all attacks leave "
            "together; each is an upper bound on what stands.",
            class_="about",
        )
    ]
    plots = [_plot(item, ticks, show) for item in found]
    parts.append(tag("div", plots, class_="plots two"))
    for item in found:
        parts.append(_table(item))
    return tag("div", parts)


def _plot(item: Cheapest, ticks: Sequence[float], show: Callable[[float], str]) -> Html:
    radii = [item.epsilon * k / POINTS for k in range(POINTS + 1)]
    least = item.least
    band = [wilson(round(standing(least, at) * item.n), item.n) for at in radii]
    lines = [Line("all together", [(at, standing(least, at)) for at in radii], band, tone=0)]
    if len(item.attacks) > 1:
        for place, name in enumerate(item.attacks[:5], 1):
            sizes = item.sizes[place - 1]
            lines.append(
                Line(clean(name, 60), [(at, standing(sizes, at)) for at in radii], tone=place % charts.TONES, dash=1)
            )
    else:
        lines = [Line(clean(item.attacks[0], 60), lines[0].points, band)]
    marks = [level / 255 for level in charts.round_ticks(0, item.epsilon * 255, about=4)] if item.in_levels else ()
    x = Axis("size of the change", lambda value: radius(value, item.in_levels), 0.0, item.epsilon, marks)
    y = Axis("share right", show, 0.0, 1.0, ticks)
    return charts.lines(f"Within {clean(item.threat, 40)}", lines, x, y, size=(500, 310))


def _table(item: Cheapest) -> Html:
    """A row for each attack and one for all: what falls, how often it is the cheapest, and quantiles of the size."""
    least = item.least
    rows: list[list[Child]] = []
    entries = [(name, item.sizes[place]) for place, name in enumerate(item.attacks)]
    if len(entries) > 1:
        entries.append(("all together", least))
    spoiled = least.isfinite() & (least > 0)
    for name, sizes in entries:
        alone = int((spoiled & (sizes <= least * (1 + 1e-6))).sum()) if name != "all together" else None
        right = sizes[sizes > 0].sort().values
        cells: list[Child] = [tag("strong", name) if name == "all together" else tag("code", name)]
        cells += [percent(standing(sizes, item.epsilon)), count(alone) if alone is not None else "–"]
        for part in SHARES:
            at = float(right[max(0, round(part * len(right)) - 1)]) if len(right) else torch.inf
            cells.append(_size(at, item) if at < torch.inf else "–")
        rows.append(cells)
    head = ["attack", "right at ε", "cheapest on", *(f"{part:.0%} fall to" for part in SHARES)]
    title = tag(
        "p", tag("strong", "Within "), tag("code", item.threat), f", n{NBSP}={NBSP}{count(item.n)}", class_="caption"
    )
    return tag("div", title, table(head, rows, caption=f"Smallest changes within {item.threat}"))

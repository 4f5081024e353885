"""Charts as SVG: lines with bands, bars with whiskers, heat maps. Colours come from the style sheet.

Every shape that carries a figure has a title, which browsers show on hovering and readers speak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stalwart.pages.html import Child, Html, clean, tag
from stalwart.pages.numbers import percent

TONES = 6
"""Colours that the style sheet has; later series start again, with another dash."""
MOST_POINTS = 240
"""Points drawn of one line; more cannot be told apart."""


@dataclass(frozen=True)
class Line:
    """One series of a chart."""

    label: str
    """Its name in the legend; '' for none."""
    points: Sequence[tuple[float, float]]
    """(x, y), ascending in x."""
    band: Sequence[tuple[float, float]] = ()
    """(low, high) for each point; empty for none."""
    tone: int = 0
    """Which colour, counted from 0."""
    dash: int = 0
    """0 solid, 1 dashed, 2 dotted: a second mark beside the colour."""


@dataclass(frozen=True)
class Axis:
    """One axis of a chart."""

    label: str
    show: Callable[[float], str]
    """A value as text."""
    low: float | None = None
    """Where it starts; None: at the least value."""
    high: float | None = None
    ticks: Sequence[float] = ()
    """Where its marks stand; empty: at round numbers."""
    whole: bool = False
    """Only whole numbers are marked."""


def round_ticks(low: float, high: float, about: int = 5, whole: bool = False) -> list[float]:
    """Round numbers (1, 2, 2.5, 5 × 10^k apart) inside [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def thinned(line: Line) -> Line:
    """The line with at most `MOST_POINTS` points, first and last among them."""
    n = len(line.points)
    if n <= MOST_POINTS:
        return line
    kept = sorted({round(i * (n - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)})
    band = [line.band[i] for i in kept] if line.band else ()
    return Line(line.label, [line.points[i] for i in kept], band, line.tone, line.dash)


class _Scale:
    """Values to pixels along one axis."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        low = min(values) if axis.low is None else axis.low
        high = max(values) if axis.high is None else axis.high
        self.ticks = list(axis.ticks) or round_ticks(low, high, whole=axis.whole)
        if axis.high is None and not axis.whole and len(self.ticks) > 1 and self.ticks[-1] < high:
            self.ticks.append(round(2 * self.ticks[-1] - self.ticks[-2], 12))  # the highest mark stands above the data
            high = self.ticks[-1]
        if not high > low:
            room = abs(low) * 0.5 or 0.5
            low, high = low - room, high + room
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)


def lines(title: str, series: Sequence[Line], x: Axis, y: Axis, *, size: tuple[int, int] = (360, 230)) -> Html:
    """A line chart with its legend beneath, as a figure.

    Args:
        size: (width, height) in pixels at which its text has the page's size.
    """
    series = [thinned(line) for line in series if line.points]
    width, height = size
    xs = [a for line in series for a, _ in line.points]
    ys = [b for line in series for _, b in line.points] + [b for line in series for pair in line.band for b in pair]
    if not xs:
        return Html("")
    # A wide chart shrinks on a phone, where its text is set larger: it gets more room for it.
    left, right, top, bottom = (50, width - 14, 14, height - 40) if width < 420 else (64, width - 20, 14, height - 50)
    across, up = _Scale(x, xs, left, right), _Scale(y, ys, bottom, top)
    parts: list[Child] = []
    for value in up.ticks:
        parts.append(tag("line", x1=left, x2=right, y1=up(value), y2=up(value), class_="grid"))
        parts.append(tag("text", y.show(value), x=left - 7, y=up(value) + 4, text_anchor="end"))
    for value in across.ticks:
        parts.append(tag("line", x1=across(value), x2=across(value), y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(
            tag("text", x.show(value), x=across(value), y=bottom + (17 if width < 420 else 20), text_anchor="middle")
        )
    parts.append(tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(tag("text", x.label, x=(left + right) / 2, y=height - 5, text_anchor="middle", class_="label"))
    for line in series:
        if line.band:
            edge = [(across(a), up(low)) for (a, _), (low, _) in zip(line.points, line.band, strict=True)]
            back = [(across(a), up(high)) for (a, _), (_, high) in zip(line.points, line.band, strict=True)]
            parts.append(tag("polygon", points=_pairs([*edge, *reversed(back)]), class_=f"band tone{line.tone}"))
    for line in series:
        spots = [(across(a), up(b)) for a, b in line.points]
        parts.append(tag("polyline", points=_pairs(spots), class_=f"line tone{line.tone} dash{line.dash}"))
        few = len(spots) <= 40
        for place, ((px, py), (a, b)) in enumerate(zip(spots, line.points, strict=True)):
            around = ""
            if line.band:
                around = f" (95 % interval {y.show(line.band[place][0])} to {y.show(line.band[place][1])})"
            name = f"{line.label}: " if line.label else ""
            said = tag("title", f"{name}{y.show(b)}{around} at {x.label} {x.show(a)}")
            if few:
                parts.append(tag("circle", cx=px, cy=py, r=2.6, class_=f"dot tone{line.tone}"))
            parts.append(tag("circle", said, cx=px, cy=py, r=9.0 if few else 4.0, class_="hit"))
    ends = "; ".join(f"{line.label or 'it'} ends at {y.show(line.points[-1][1])}" for line in series)
    svg = tag(
        "svg",
        tag("title", title),
        tag("desc", f"{y.label} against {x.label}. {ends}."),
        parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        class_="chart",
    )
    keys = [tag("li", _key(line), " ", line.label) for line in series if line.label]
    return tag(
        "figure",
        tag("figcaption", tag("strong", title), tag("span", y.label, class_="unit") if y.label else None),
        svg,
        tag("ul", keys, class_="legend") if keys else None,
        class_="plot",
    )


def _key(line: Line) -> Html:
    stroke = tag("line", x1=1, x2=23, y1=5, y2=5, class_=f"line tone{line.tone} dash{line.dash}")
    return tag("svg", stroke, viewBox="0 0 24 10", width=24, height=10, aria_hidden="true")


def _pairs(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)


def bar(share: float | None, interval: tuple[float, float] | None = None, tone: int = 0) -> Html:
    """A bar of a share in [0, 1], with its interval as a whisker."""
    if share is None:
        return Html("")
    share = min(max(share, 0.0), 1.0)
    parts: list[Child] = [
        tag("rect", x=0, y=3, width=100, height=6, class_="track"),
        tag("rect", x=0, y=3, width=100 * share, height=6, class_=f"fill tone{tone}"),
    ]
    said = percent(share)
    if interval is not None:
        low, high = (100 * min(max(end, 0.0), 1.0) for end in interval)
        parts.append(tag("line", x1=low, x2=high, y1=6, y2=6, class_="whisker"))
        parts += [tag("line", x1=end, x2=end, y1=2, y2=10, class_="whisker") for end in (low, high)]
        said += f", 95 % interval {low:.1f} to {high:.1f} %"
    return tag(
        "svg", tag("title", said), parts, viewBox="-1 0 102 12", preserveAspectRatio="none", role="img", class_="bar"
    )


def _elided(name: str) -> str:
    """The name in at most 13 characters: its ends, which tell classes of one kind apart."""
    return name if len(name) <= 13 else f"{name[:6].rstrip()}…{name[-6:].lstrip()}"


def heat(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """A confusion matrix (K, K): rows are the truth, columns the answer, shades the share of the row."""
    k = len(names)
    cell = max(14, min(38, 460 // max(k, 1)))
    short = [_elided(clean(name)) for name in names]
    longest = max((len(name) for name in short), default=0)
    turned = longest * 7.2 > cell
    left = max(66.0, 14 + longest * 7.2)
    top = 24 + (longest * 5.4 if turned else 14)
    width, height = left + k * cell + (longest * 4.2 if turned else 6), top + k * cell + 6
    parts: list[Child] = [
        tag("text", "answer →", x=left - 7, y=top - 24, text_anchor="end", class_="label"),
        tag("text", "truth ↓", x=left - 7, y=top - 8, text_anchor="end", class_="label"),
    ]
    for i, name in enumerate(short):
        middle = left + (i + 0.5) * cell
        turn = f"rotate(-50 {middle:.1f} {top - 6:.1f})" if turned else None
        parts.append(
            tag("text", name, x=middle, y=top - 6, text_anchor="start" if turned else "middle", transform=turn)
        )
        parts.append(tag("text", name, x=left - 7, y=top + (i + 0.5) * cell + 4, text_anchor="end"))
    for i, row in enumerate(counts):
        whole = sum(row)
        for j, n in enumerate(row):
            share = n / whole if whole else 0.0
            x, y = left + j * cell, top + i * cell
            said = f"{n:,} of {whole:,} {short[i]} answered as {short[j]} ({100 * share:.1f} %)"
            if not n:
                parts.append(
                    tag("rect", x=x + 0.5, y=y + 0.5, width=cell - 1.0, height=cell - 1.0, rx=2, class_="empty")
                )
                continue
            parts += _cell(
                x,
                y,
                (cell, cell),
                said,
                "" if cell < 24 else f"{n:,}" if n < 10_000 else f"{n / 1000:.0f}k",
                kind="right" if i == j else "wrong",
                opacity=0.12 + 0.88 * share if i == j else min(1.0, 0.2 + 2.2 * share),
                dark=share > (0.5 if i == j else 0.25),
            )
    told = f"{k} classes; rows are the truth, columns the answer."
    return _matrix(title, told, parts, width, height, wide=k > 12)


def _cell(
    x: float, y: float, size: tuple[float, float], said: str, words: str, *, kind: str = "wrong", opacity: float,
    dark: bool, gap: float = 0.5, corner: int = 2,
) -> list[Child]:  # fmt: skip
    """A shaded place of a matrix with its words upon it.

    Args:
        size: width and height.
        said: what the pointer is told.
        dark: the shade wants light words.
        gap: to the next place, on each side.
    """
    wide, high = size
    box = tag(
        "rect", tag("title", said), x=x + gap, y=y + gap, width=wide - 2 * gap, height=high - 2 * gap, rx=corner,
        class_=kind, fill_opacity=opacity,
    )  # fmt: skip
    if not words:
        return [box]
    shade = "over" if dark else "count"
    return [box, tag("text", words, x=x + wide / 2, y=y + high / 2 + 4, text_anchor="middle", class_=shade)]


def _matrix(title: str, told: str, parts: list[Child], width: float, height: float, *, wide: bool = False) -> Html:
    """A matrix's places and names as a figure."""
    svg = tag(
        "svg",
        tag("title", title),
        tag("desc", told),
        parts,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        class_="chart heat wide" if wide else "chart heat",
    )
    return tag("figure", tag("figcaption", tag("strong", title)), svg, class_="plot")


def grid(title: str, rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]]) -> Html:
    """A table of shares in [0, 1] as shades: the darker, the larger.

    Args:
        shares: one sequence for each row, one share for each column.
    """
    wide, high = 52, 24
    short = [_elided(clean(name)) for name in rows]
    left, top = 14 + max((len(name) for name in short), default=0) * 7.2, 22
    parts: list[Child] = []
    for j, name in enumerate(columns):
        parts.append(tag("text", clean(name, 12), x=left + (j + 0.5) * wide, y=top - 7, text_anchor="middle"))
    for i, (name, row) in enumerate(zip(short, shares, strict=True)):
        parts.append(tag("text", name, x=left - 7, y=top + (i + 0.5) * high + 4, text_anchor="end"))
        for j, share in enumerate(row):
            x, y = left + j * wide, top + i * high
            said = f"{name}, {clean(columns[j], 12)}: {percent(share)}"
            opacity = 0.06 + 0.94 * share
            parts += _cell(x, y, (wide, high), said, percent(share), opacity=opacity, dark=share > 0.5)
    width, height = left + len(columns) * wide + 6, top + len(rows) * high + 6
    told = f"{len(rows)} rows and {len(columns)} columns; the darker, the larger."
    return _matrix(title, told, parts, width, height)


def shares(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> Html:
    """A table of shares in [0, 1] as a heat map: the less is left, the darker the cell.

    Args:
        rows: what was done, top to bottom.
        columns: to whom.
        values: a row of shares for each of `rows`.
    """
    high = 40
    across, down = [_elided(clean(name)) for name in columns], [_elided(clean(name)) for name in rows]
    left = max(122.0, 16 + max((len(name) for name in down), default=0) * 7.4)
    cell = max(52.0, (590 - left) / max(len(columns), 1))  # as wide as other charts, so that its text is as large
    turned = max((len(name) for name in across), default=0) * 7.2 > cell
    top = 30 + (max((len(name) for name in across), default=0) * 5.4 if turned else 14)
    width = left + len(columns) * cell + (max((len(name) for name in across), default=0) * 4.2 if turned else 6)
    height = top + len(rows) * high + 6
    parts: list[Child] = [
        tag("text", "asked →", x=left - 9, y=top - 24, text_anchor="end", class_="label"),
        tag("text", "made against ↓", x=left - 9, y=top - 8, text_anchor="end", class_="label"),
    ]
    for j, name in enumerate(across):
        middle = left + (j + 0.5) * cell
        turn = f"rotate(-50 {middle:.1f} {top - 8:.1f})" if turned else None
        parts.append(
            tag("text", name, x=middle, y=top - 8, text_anchor="start" if turned else "middle", transform=turn)
        )
    for i, name in enumerate(down):
        parts.append(tag("text", name, x=left - 9, y=top + (i + 0.5) * high + 4, text_anchor="end"))
        for j, share in enumerate(values[i]):
            x, y = left + j * cell, top + i * high
            said = f"{down[i]}, {across[j]} asked: {percent(share)} right"
            lost = 0.08 + 0.92 * (1 - share)
            parts += _cell(x, y, (cell, high), said, percent(share), opacity=lost, dark=lost > 0.6, gap=1.0, corner=3)
    told = f"{len(rows)} rows, {len(columns)} models asked; each cell is the share still right."
    return _matrix(title, told, parts, width, height)

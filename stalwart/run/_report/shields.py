"""Shields in the report: three numbers side by side, and what is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stalwart.pages import charts
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Child, Html, folded, table, tag
from stalwart.pages.numbers import NBSP, count, figure, percent, span
from stalwart.run._report.values import Interval, interval_of, items, real, share, text, whole

ROUNDS = {"without": "without the shield", "naive": "naive attack", "adaptive": "adaptive attack"}
"""The three numbers, and what the report calls them."""
MOST_POINTS = 1000


@dataclass(frozen=True)
class Number:
    """One of a shield's three numbers."""

    attack: str
    """As spelled, wrappers included."""
    robust: float
    interval: Interval


@dataclass(frozen=True)
class Shielded:
    """What a shield is worth under one attack."""

    shield: str
    masks: bool
    certifies: bool
    attack: str
    threat: str
    split: str
    n: int
    clean: float
    """Right on untouched images, with the shield."""
    numbers: tuple[Number, ...]
    """In the order of `ROUNDS`."""

    @property
    def kind(self) -> str:
        """How the shield is labelled."""
        return "masks" if self.masks else "certified" if self.certifies else ""

    @property
    def worth(self) -> Number:
        """The figure that counts: the lower of the two with the shield."""
        return min(self.numbers[1:], key=lambda number: number.robust)


@dataclass(frozen=True)
class Certified:
    """What a shield proves."""

    shield: str
    split: str
    n: int
    alpha: float
    without: float | None
    """Right on untouched images without the shield."""
    certified: float
    """Right with the shield, and proven to stand at least a smallest change."""
    abstained: float | None
    mean_radius: float | None
    curve: tuple[tuple[float, float, Interval], ...]
    """(L2 radius, certified accuracy, interval), ascending."""


def shielded(raw: Mapping[str, Any]) -> Shielded | None:
    """A shield's result as a run's `results/` holds it, or None where it lacks its main figures."""
    n, clean = whole(raw, "n"), share(raw, "clean_accuracy")
    shield, attack, threat = text(raw, "shield"), text(raw, "attack"), text(raw, "threat")
    if not n or clean is None or not shield or not attack or not threat:
        return None
    numbers = []
    for name in ROUNDS:
        own = raw.get(name)
        robust = share(own, "robust_accuracy")
        if robust is None or not isinstance(own, Mapping):
            return None
        numbers.append(Number(text(own, "attack") or attack, robust, interval_of(own.get("interval"), robust, n)))
    masks, certifies = raw.get("masks") is True, raw.get("certifies") is True
    split = text(raw, "split") or "unknown"
    return Shielded(shield, masks, certifies, attack, threat, split, n, clean, tuple(numbers))


def certified(raw: Mapping[str, Any]) -> Certified | None:
    """A certificate's result, or None where it lacks its main figures."""
    n, accuracy, alpha = whole(raw, "n"), share(raw, "certified_accuracy"), share(raw, "alpha")
    shield = text(raw, "shield")
    if not n or accuracy is None or alpha is None or not shield:
        return None
    curve = []
    for item in items(raw, "curve")[:MOST_POINTS]:
        at, held = real(item, "epsilon"), share(item, "certified_accuracy")
        if at is not None and at >= 0 and held is not None:
            curve.append((at, held, interval_of(item.get("interval"), held, n)))
    curve.sort(key=lambda point: point[0])
    split = text(raw, "split") or "unknown"
    return Certified(
        shield, split, n, alpha, share(raw, "without"), accuracy, share(raw, "abstained"), real(raw, "mean_radius"),
        tuple(curve),
    )  # fmt: skip


def said(item: Shielded) -> str:
    """The three numbers, and which of them counts, in a sentence or two."""
    bare, naive, known = (percent(number.robust) for number in item.numbers)
    text = (
        f"{item.shield} under {item.attack} within {item.threat}: {bare} stand without it, {naive} under an attack "
        f"that does not know it, {known} under one that does"
    )
    if not item.masks:
        return f"{text}."
    gain = item.worth.robust - item.numbers[0].robust
    gained = f"it adds {100 * gain:.1f} points" if gain >= 0.0005 else "it adds nothing"
    return f"{text}. It masks the slope: against an attacker who knows it {gained}."


def proven(item: Certified) -> str:
    """What a certificate says, in a sentence or two."""
    text = f"With {item.shield}, {percent(item.certified)} of {count(item.n)} images are answered rightly"
    if item.mean_radius is not None:
        text += f", and no change shorter than {figure(item.mean_radius)} in L2, on average over all, can alter that"
    return f"{text}. This is proven, not tried; each image's proof fails with probability {item.alpha:g} at most."


def body(found: Sequence[Shielded]) -> Html:
    """A row for each shield and attack, the three numbers in columns."""
    rows: list[list[Child]] = []
    for item in found:
        label = tag("span", item.kind, class_=f"label {item.kind}") if item.kind else None
        under = tag("span", f"{item.attack} within {item.threat}", class_="sub")
        more = f"{percent(item.clean)} untouched, n{NBSP}={NBSP}{count(item.n)}"
        cells: list[Child] = [[tag("code", item.shield), " ", label, under, tag("span", more, class_="sub")]]
        for place, number in enumerate(item.numbers):
            strong = number is item.worth
            value = tag("strong" if strong else "span", percent(number.robust))
            wrapped = number.attack if number.attack != item.attack else ""
            cells.append(
                [
                    value,
                    charts.bar(number.robust, number.interval, tone=(0, 5, 2)[place]),
                    tag("span", span(number.interval), class_="sub"),
                    tag("code", wrapped, class_="sub") if wrapped else None,
                ]
            )
        rows.append(cells)
    note = (
        "The share of images that stay right. A naive attack takes the shielded model as it is; an adaptive one knows "
        "the shield, goes around its missing slope and averages over its draws. The lower of the two is what the "
        "shield is worth (bold), and never the higher. “masks”: it hides the slope and removes no weakness. "
        "“certified”: it can also prove a part of what it gives."
    )
    head = ("shield", *ROUNDS.values())
    return tag(
        "div", tag("p", note, class_="about"), table(head, rows, caption="Shields, three numbers", kind="even many")
    )


def curves(found: Sequence[Certified]) -> Html:
    """Certified accuracy against the radius."""
    lines = [
        Line(
            f"{item.shield}, n{NBSP}={NBSP}{count(item.n)}",
            [(at, held) for at, held, _ in item.curve],
            [interval for _, _, interval in item.curve],
            tone=place % charts.TONES,
            dash=place % 3,
        )
        for place, item in enumerate(found)
        if len(item.curve) > 1
    ]
    x = Axis("L2 radius", figure, low=0.0)
    y = Axis(
        "share proven right, with 95 % intervals",
        lambda value: percent(value, 0),
        0.0,
        1.0,
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    )
    plot = charts.lines("Certified accuracy", lines, x, y, size=(500, 310)) if lines else None
    rows: list[list[Child]] = [
        [
            tag("code", item.shield), percent(item.without), percent(item.certified), percent(item.abstained),
            figure(item.mean_radius), count(item.n), f"{item.alpha:g}",
        ]
        for item in found
    ]  # fmt: skip
    points: list[list[Child]] = [
        [tag("code", item.shield), figure(at), percent(held), span(interval)]
        for item in found
        for at, held, interval in item.curve
    ]
    head = ("shield", "right without it", "certified", "abstained", "mean radius", "n", "α")
    note = (
        "No attack of L2 norm below the radius can change these answers, whatever it tries: that is proven for each "
        "image with the stated probability of error α, where an attack's figure is only an upper bound. An image that "
        "is answered wrongly, or not at all, counts at no radius."
    )
    return tag(
        "div",
        tag("p", note, class_="about"),
        tag("div", plot, class_="plots two") if plot else None,
        table(head, rows, caption="Certificates"),
        folded("The figures of the curve", table(("shield", "L2 radius", "certified", "95 % interval"), points,
               caption="Certified accuracy at each radius")) if points else None,
    )  # fmt: skip

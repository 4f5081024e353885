"""Detectors in the report: what they tell apart, whom they flag for nothing, and who passes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stalwart.pages import charts
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Child, Html, clean, folded, table, tag
from stalwart.pages.numbers import NBSP, count, percent, span
from stalwart.run._report.values import Interval, interval_of, is_share, items, real, share, text, whole

MOST_ROWS = 40
FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
ATTACKERS = ("unaware", "summed", "orthogonal", "matching")


@dataclass(frozen=True)
class Told:
    """How one attack's successes are told from clean images."""

    attack: str
    seen: bool
    n: int
    area: float | None
    interval: Interval | None
    other: tuple[tuple[str, float], ...]
    """The area against other negatives, by their names."""
    caught: tuple[float | None, ...]
    """At 5 % and 1 % false alarms."""
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Passed:
    """One point of the evasion curve."""

    epsilon: float
    evasion: float
    interval: Interval
    undefended: float | None
    each: tuple[float | None, ...]
    """By attacker."""


@dataclass(frozen=True)
class Scored:
    """One detector."""

    detector: str
    baseline: bool
    says: str
    told: tuple[Told, ...]
    alarms: tuple[tuple[str, str, int, tuple[tuple[float | None, Interval], ...]], ...]
    """(name, what they are, n, shares flagged at 5 % and 1 %) of each kind of negative."""
    passed: tuple[tuple[float, tuple[Passed, ...]], ...]
    """The evasion curve at each rate of false alarms."""
    joined: int


@dataclass(frozen=True)
class Detected:
    """What `detect` found."""

    detector: str
    threat: str
    fit_attack: str
    n: int
    scorers: tuple[Scored, ...]


def detected(raw: Mapping[str, Any]) -> Detected | None:
    """A result as a run's `results/` holds it, or None where it lacks its main figures."""
    n, detector, threat = whole(raw, "n"), text(raw, "detector"), text(raw, "threat")
    scorers = tuple(item for entry in items(raw, "scorers")[:4] if (item := _scored(entry)) is not None)
    if not n or not detector or not threat or not scorers:
        return None
    return Detected(detector, threat, text(raw, "fit_attack"), n, scorers)


def _scored(raw: Any) -> Scored | None:
    name = text(raw, "detector")
    if not name:
        return None
    told = []
    for item in items(raw, "attacks")[:MOST_ROWS]:
        attack, n = text(item, "attack"), whole(item, "n") or 0
        areas = item.get("auroc") if isinstance(item, Mapping) else None
        main = areas.get("clean") if isinstance(areas, Mapping) else None
        value = share(main, "value")
        interval = None if value is None else interval_of(main.get("interval") if main else None, value, max(n, 1))
        other = tuple(
            (str(key), area)
            for key, entry in (list(areas.items())[:8] if isinstance(areas, Mapping) else [])
            if key != "clean" and (area := share(entry, "value")) is not None
        )
        caught = tuple(share(alarm, "share") for alarm in items(item, "alarms")[:2])
        points = [
            (float(point[0]), float(point[1]))
            for point in items(item, "roc")[:300]
            if isinstance(point, list) and len(point) == 2 and all(is_share(end) for end in point)
        ]
        if attack:
            seen = isinstance(item, Mapping) and item.get("seen") is True
            told.append(Told(attack, seen, n, value if n else None, interval, other, caught, tuple(sorted(points))))
    alarms = []
    for item in items(raw, "negatives")[:MOST_ROWS]:
        n = whole(item, "n") or 0
        rates = []
        for alarm in items(item, "alarms")[:2]:
            rate = share(alarm, "share")
            rates.append((rate, interval_of(alarm.get("interval"), rate or 0.0, max(n, 1))))
        if text(item, "name"):
            alarms.append((text(item, "name"), text(item, "says"), n, tuple(rates)))
    joint = raw.get("evasion") if isinstance(raw, Mapping) else None
    joined = whole(joint, "n") or 0
    passed = []
    for level in items(joint, "levels")[:4]:
        at, curve = share(level, "at"), []
        for point in items(level, "curve")[:MOST_ROWS]:
            epsilon, evasion = real(point, "epsilon"), share(point, "evasion")
            if epsilon is not None and epsilon >= 0 and evasion is not None:
                interval = interval_of(point.get("interval"), evasion, max(joined, 1))
                each = tuple(share(point, key) for key in ATTACKERS)
                curve.append(Passed(epsilon, evasion, interval, share(point, "undefended"), each))
        if at is not None and curve:
            passed.append((at, tuple(sorted(curve, key=lambda item: item.epsilon))))
    baseline = isinstance(raw, Mapping) and raw.get("baseline") is True
    return Scored(name, baseline, text(raw, "says"), tuple(told), tuple(alarms), tuple(passed), joined)


def body(found: Sequence[Detected]) -> Html:
    """A sentence, the curves and the tables of each detector, the baseline beside it."""
    parts: list[Child] = [
        tag(
            "p",
            "A detector says of each input whether it was tampered with. An AUROC of 0.5 is a coin's; the interval "
            "is the 95 % one. It means little by itself: every detector published so far was bypassed by attackers who "
            "knew it, so read the evasion curve first.",
            class_="about",
        )
    ]
    return tag("div", parts, [_one(item) for item in found])


def _one(item: Detected) -> Html:
    fit = [", fitted on ", tag("code", item.fit_attack)] if item.fit_attack else []
    head = tag("h4", tag("code", item.detector), " under ", tag("code", item.threat), *fit)
    said = [tag("p", tag("strong", scorer.says)) for scorer in item.scorers if scorer.says]
    return tag(
        "div",
        head,
        said,
        tag("div", _rocs(item), _evasions(item), class_="plots two"),
        _table(item),
        folded("Images that nobody attacked, and who is flagged among them", _alarms(item)),
        folded("The figures of the evasion curve", _evasion_table(item)),
    )


def _rocs(item: Detected) -> Html:
    lines = []
    for place, scorer in enumerate(item.scorers):
        for number, row in enumerate(scorer.told):
            label = clean(f"{scorer.detector}, {row.attack}", 60)
            lines.append(Line(label, row.curve, tone=number % charts.TONES, dash=place % 3))
    ticks = Axis("false alarms on clean images", _ticks, 0.0, 1.0, FIFTHS)
    return charts.lines("ROC", lines, ticks, Axis("caught", _ticks, 0.0, 1.0, FIFTHS), size=(500, 310))


def _evasions(item: Detected) -> Html:
    lines, largest = [], 0.0
    for place, scorer in enumerate(item.scorers):
        for number, (at, curve) in enumerate(scorer.passed):
            points = [(point.epsilon, point.evasion) for point in curve]
            band = [point.interval for point in curve]
            label = clean(f"{scorer.detector}, at {at:.0%} false alarms", 60)
            lines.append(Line(label, points, band, tone=(2 * place + number) % charts.TONES, dash=number % 3))
            largest = max(largest, points[-1][0])
    if item.scorers[0].passed:
        alone = [(p.epsilon, p.undefended) for p in item.scorers[0].passed[0][1] if p.undefended is not None]
        lines.append(Line("no detector", alone, tone=5, dash=2))
    y = Axis("wrong and not flagged, with 95 % intervals", _ticks, 0.0, 1.0, FIFTHS)
    x = Axis("ε", lambda value: f"{value:.3g}", low=0.0, high=largest or None)
    return charts.lines("Evasion by attackers who know both", lines, x, y, size=(500, 310))


def _ticks(value: float) -> str:
    return percent(value, 0 if abs(100 * value - round(100 * value)) < 1e-9 else 1)


def _table(item: Detected) -> Html:
    rows: list[list[Child]] = []
    others = list(dict.fromkeys(name for scorer in item.scorers for row in scorer.told for name, _ in row.other))
    for scorer in item.scorers:
        for row in scorer.told:
            area = "–" if row.area is None or row.interval is None else f"{row.area:.3f}"
            around = "–" if row.interval is None or row.area is None else "{:.3f} to {:.3f}".format(*row.interval)
            beside = dict(row.other)
            rows.append(
                [
                    [tag("code", scorer.detector), " (baseline)" if scorer.baseline else ""],
                    [tag("code", row.attack), " (fitted on)" if row.seen else ""],
                    count(row.n),
                    area,
                    around,
                    *(f"{beside[name]:.3f}" if name in beside else "–" for name in others),
                    *(percent(value) for value in (*row.caught, None, None)[:2]),
                ]
            )
    head = (
        "detector", "attack", "successes", "AUROC", "95 % interval", *(f"against {name}" for name in others),
        f"caught at 5{NBSP}%", f"at 1{NBSP}%",
    )  # fmt: skip
    return table(head, rows, caption="Attacks and how many of their successes are caught")


def _alarms(item: Detected) -> Html:
    rows: list[list[Child]] = []
    for scorer in item.scorers:
        for name, says, n, rates in scorer.alarms:
            shown = [f"{percent(rate)} ({span(interval)})" for rate, interval in rates]
            rows.append([tag("code", scorer.detector), f"{name}: {says}", count(n), *[*shown, "–", "–"][:2]])
    head = ("detector", "images", "n", f"flagged at 5{NBSP}%", f"at 1{NBSP}%")
    return table(head, rows, caption="Flagged images that nobody attacked")


def _evasion_table(item: Detected) -> Html:
    rows: list[list[Child]] = []
    for scorer in item.scorers:
        for at, curve in scorer.passed:
            for point in curve:
                each = (percent(value) for value in (*point.each, point.undefended))
                rows.append(
                    [
                        tag("code", scorer.detector), f"{at:.0%}", f"{point.epsilon:.4g}", count(scorer.joined),
                        percent(point.evasion), span(point.interval), *each,
                    ]
                )  # fmt: skip
    head = ("detector", "false alarms", "ε", "n", "evasion", "95 % interval", *ATTACKERS, "no detector")
    return table(head, rows, caption="Evasion of model and detector together")

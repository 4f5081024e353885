"""Audits in the report: how far each figure under attack can be trusted, check by check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stalwart.pages.html import Html, folded, table, tag
from stalwart.pages.numbers import NBSP, count, percent, span
from stalwart.run._report.measures import Measure
from stalwart.run._report.values import Interval, interval_of, items, share, text, whole

VERDICTS = ("trusted", "doubtful", "broken")
OUTCOMES = ("passed", "doubtful", "broken", "skipped")
MOST_CHECKS = 40


@dataclass(frozen=True)
class Looked:
    """One check of an audit."""

    name: str
    outcome: str
    says: str


@dataclass(frozen=True)
class Audited:
    """What an audit said of one attack's figure under one threat."""

    verdict: str
    attack: str
    threat: str
    split: str
    n: int
    robust: float
    lowest: float
    interval: Interval
    because: str
    """The reasons, one sentence; '' where it is trusted."""
    checks: tuple[Looked, ...]
    own: tuple[Measure, Measure] | None = None
    """The task's own figure by the audited attack, and when all reruns count; None where the share is all there is."""

    @property
    def lower(self) -> str:
        """'; with all reruns ... is left', where they left less."""
        first, last = (self.robust, self.lowest) if self.own is None else (self.own[0].value, self.own[1].value)
        said = percent(last) if self.own is None else self.own[1].phrase
        return f"; with all reruns {said} is left" if last < first else ""


def audited(raw: Mapping[str, Any]) -> Audited | None:
    """An audit as a run's `results/` holds it, or None where it lacks its main figures."""
    n, robust, lowest = whole(raw, "n"), share(raw, "robust_accuracy"), share(raw, "lowest")
    verdict, attack, threat = text(raw, "verdict"), text(raw, "attack"), text(raw, "threat")
    if not n or robust is None or lowest is None or verdict not in VERDICTS or not attack or not threat:
        return None
    checks = []
    for item in items(raw, "checks")[:MOST_CHECKS]:
        name, outcome, says = text(item, "name"), text(item, "outcome"), text(item, "says")
        if name and outcome in OUTCOMES:
            checks.append(Looked(name, outcome, says))
    split = text(raw, "split") or "unknown"
    interval = interval_of(raw.get("interval"), lowest, n)
    because = text(raw, "because").rstrip(".")
    kind, first, last = text(raw, "score"), share(raw, "robust_score"), share(raw, "lowest_score")
    own = None if not kind or first is None or last is None else (Measure(kind, first), Measure(kind, last))
    return Audited(verdict, attack, threat, split, n, robust, lowest, interval, because, tuple(checks), own)


def body(audits: tuple[Audited, ...]) -> Html:
    """A verdict, its reasons and the whole checklist, folded away, for each figure."""
    parts = []
    for item in audits:
        said = f"{item.verdict} because {item.because}." if item.because else f"{item.verdict}."
        figures = (
            f"{percent(item.robust)} right under the audited attack; {percent(item.lowest)} {span(item.interval)} when "
            f"all reruns count (95{NBSP}% interval), n{NBSP}={NBSP}{count(item.n)}."
        )
        if item.own is not None:
            before, after = item.own
            figures = (
                f"{before.heading} {percent(before.value)} under the audited attack, {percent(after.value)} when all "
                f"reruns count; {percent(item.robust)} of {count(item.n)} images within the task's own bound, and "
                f"{percent(item.lowest)} (95{NBSP}% interval {span(item.interval)})."
            )
        rows = [[check.name, check.outcome, check.says] for check in item.checks]
        title = f"All {len(rows)} checks"
        parts.append(
            tag(
                "div",
                tag("p", tag("code", item.attack), " under ", tag("code", item.threat), ": ", tag("strong", said)),
                tag("p", figures, class_="about"),
                folded(title, table(["check", "outcome", "what it found"], rows, caption=f"Audit of {item.attack}")),
            )
        )
    return tag("div", parts)

"""Several runs side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stalwart.pages import charts
from stalwart.pages.html import Child, Html, table, tag
from stalwart.pages.numbers import NBSP, count, duration, percent, span
from stalwart.run._report import cheapest, transfers
from stalwart.run._report.measures import SHARE, Measure
from stalwart.run._report.record import Attacked, Record
from stalwart.run._report.sections import code, curves
from stalwart.run._report.values import Interval
from stalwart.run._report.words import Sentence, images, listed

Key = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Figure:
    """One share, measured on one run."""

    value: float
    interval: Interval | None
    n: int


def headline(records: Sequence[Record]) -> str:
    """The comparison in one line: the hardest threat that all runs share."""
    shared = _shared(records)
    if not shared:
        return f"{listed(record.label for record in records)}, side by side."
    key = min(shared, key=lambda key: min(shared[key][record.label].held.value for record in records))
    row = shared[key]
    ranked = sorted(records, key=lambda record: -row[record.label].held.value)
    best, last = row[ranked[0].label].held, row[ranked[-1].label].held
    if best.value == last.value:
        if best.kind != SHARE:
            return f"Within {key[1]}, all keep {best.phrase} on attacked images."
        return f"Within {key[1]}, all are right on {percent(best.value)} of attacked images."
    joint = "on" if last.kind == SHARE else "one of"
    return f"Within {key[1]}, {ranked[0].label} {best.keeps}, {ranked[-1].label} {joint} {percent(last.value)}."


def sentences(records: Sequence[Record]) -> list[Sentence]:
    """What the comparison says: the gain under each shared threat, the price on untouched images, what was compared."""
    found = []
    for key, row in _shared(records).items():
        ranked = sorted(records, key=lambda record: -row[record.label].held.value)
        parts = [_keeps(record.label, row[record.label].held) for record in ranked]
        best, last = row[ranked[0].label], row[ranked[-1].label]
        gap = _gap(_of(best), _of(last))
        n = min(item.n for item in row.values())
        said = f"Attacked by {key[0]} on {images(n, key[3])}, {listed(parts)}. {_said(gap, len(parts))}"
        found.append(Sentence(f"Within {key[1]}", said))
    found += _price(records)
    passed = dict.fromkeys(item for record in records for item in record.transfers if len(item.runs) == len(records))
    if passed:
        said = " ".join(transfers.said(item) for item in list(passed)[:2])
        found.append(Sentence("What passes from model to model", said))
    seeds = {str(record.config.get("settings", {}).get("seed")) for record in records if _has_settings(record)}
    said = (
        "Each figure under attack is an upper bound; a stronger attack may leave less. The intervals cover the choice "
        "of images. They do not cover the training seed: each run here is one training"
        + (f" with seed {listed(sorted(seeds))}" if seeds else "")
        + ", and a difference of a point or two between runs may be chance."
    )
    found.append(Sentence("How far to trust this", said))
    found += _audits(records)
    return found


def _keeps(label: str, left: Measure) -> str:
    between = "" if left.interval is None else f" ({span(left.interval)})"
    return f"{label} {'stays' if left.kind == SHARE else 'keeps'} {left.phrase}{between}"


def _audits(records: Sequence[Record]) -> list[Sentence]:
    """Which figures under attack are to be believed; why not stands with each run."""
    said = []
    for verdict in ("broken", "doubtful", "trusted"):
        of = [f"{r.label} under {item.threat}" for r in records for item in r.audits if item.verdict == verdict]
        if of:
            said.append(f"{verdict.capitalize()}: {listed(of)}.")
    return [Sentence("Whether to believe the figures", " ".join(said))] if said else []


def _has_settings(record: Record) -> bool:
    settings = record.config.get("settings")
    return isinstance(settings, dict) and isinstance(settings.get("seed"), int)


def _price(records: Sequence[Record]) -> list[Sentence]:
    measured = [(record.label, record.evaluation) for record in records if record.evaluation is not None]
    if len(measured) < 2:
        return []
    splits = {(found.split, found.data) for _, found in measured if found}
    if len(splits) > 1:
        return [
            Sentence("Untouched images", "The runs were measured on different images; their accuracies do not compare.")
        ]
    known = [(found.measure, label) for label, found in measured if found.measure is not None]
    if len(known) < 2 or len({measure.kind for measure, _ in known}) > 1:
        return []
    ranked = sorted(known, key=lambda pair: (pair[0].value, pair[1]), reverse=True)
    parts = []
    for measure, label in ranked:
        between = "" if measure.interval is None else f" ({span(measure.interval)})"
        parts.append(f"{label} {'is' if measure.kind == SHARE else 'has'} {measure.phrase}{between}")
    first, last = ranked[0][0], ranked[-1][0]
    gap = _gap(Figure(first.value, first.interval, 0), Figure(last.value, last.interval, 0))
    return [Sentence("Untouched images", f"{listed(parts)}. {_said(gap, len(parts))}")]


def _of(item: Attacked) -> Figure:
    return Figure(item.held.value, item.held.interval, item.n)


Gap = tuple[float, float | None, float | None]
"""A difference, and the ends of its interval where both figures have one."""


def _gap(high: Figure, low: Figure) -> Gap:
    """The difference of two shares and its 95 % interval.

    Newcombe, "Interval estimation for the difference between independent proportions" (Statistics in Medicine 1998),
    method 10, from the two Wilson intervals. Both runs saw the same images, which makes it a little too wide.
    """
    gap = high.value - low.value
    if high.interval is None or low.interval is None:
        return gap, None, None
    down = math.hypot(high.value - high.interval[0], low.interval[1] - low.value)
    up = math.hypot(high.interval[1] - high.value, low.value - low.interval[0])
    return gap, gap - down, gap + up


def _said(gap: Gap, runs: int) -> str:
    between = "The difference is" if runs == 2 else "First and last differ by"
    if gap[1] is None or gap[2] is None:
        return f"{between} {100 * gap[0]:.1f} points; how much of it is the choice of images is not measured."
    middle, low, high = (f"{100 * value:.1f}".replace("-", "−") for value in (gap[0], gap[1], gap[2]))
    if gap[0] == 0:
        return f"There is no difference (95{NBSP}% interval {low} to {high} points)."
    doubt = "" if gap[1] > 0 else ", so it may be chance"
    return f"{between} {middle} points (95{NBSP}% interval {low} to {high}){doubt}."


def _shared(records: Sequence[Record]) -> dict[Key, dict[str, Attacked]]:
    """For each threat the attack, of those that every run was put through, that left least."""
    every = [{_key(item): item for item in record.attacks} for record in records]
    common = [key for key in every[0] if all(key in own for own in every)]
    chosen: dict[tuple[str, str], Key] = {}
    for key in common:
        threat = (key[1], key[3])
        if threat not in chosen or _least(every, key) < _least(every, chosen[threat]):
            chosen[threat] = key
    return {
        key: {record.label: own[key] for record, own in zip(records, every, strict=True)} for key in chosen.values()
    }


def _least(every: Sequence[dict[Key, Attacked]], key: Key) -> float:
    return sum(own[key].held.value for own in every)


def _key(item: Attacked) -> Key:
    """What must be the same for two figures to be compared."""
    return item.attack, item.threat, item.goal, item.split, item.data


def comparison(records: Sequence[Record]) -> Html:
    """The table of all figures, a column for each run, and the curves laid over one another."""
    rows: list[list[Child]] = []
    for part in ("model", "data", "objective"):
        values = [record.spelled(part) for record in records]
        if len(set(values)) > 1 or part == "objective":
            rows.append([part, *(code(value) if value else "–" for value in values)])
    clean = [
        Figure(found.measure.value, found.measure.interval, found.n)
        if (found := record.evaluation) is not None and found.measure is not None
        else None
        for record in records
    ]
    heads = {found.measure.name for record in records if (found := record.evaluation) and found.measure is not None}
    if any(clean) and len(heads) == 1:
        rows.append([f"{heads.pop()}, untouched", *_cells(clean)])
    keys = dict.fromkeys(_key(item) for record in records for item in record.attacks)
    for key in keys:
        found_ = [next((item for item in record.attacks if _key(item) == key), None) for record in records]
        figures = [_of(item) if item else None for item in found_]
        what = next(item.held.name for item in found_ if item is not None)
        more = ", ".join(filter(None, [key[2], "" if key[3] == "test" else f"{key[3]} split"]))
        rows.append(
            [
                [f"{what} under ", code(key[1]), tag("span", f"{key[0]}{', ' if more else ''}{more}", class_="sub")],
                *_cells(figures),
            ]
        )
    rows += _together(records)
    times = [record.epochs[-1].get("seconds") if record.epochs else None for record in records]
    if any(seconds is not None for seconds in times):
        epochs = [f"{len(record.epochs)} epochs" for record in records]
        rows.append(
            ["training", *([duration(s), tag("span", e, class_="sub")] for s, e in zip(times, epochs, strict=True))]
        )
    head = ["", *(record.label for record in records)]
    entries = [
        (f"{record.label}{_variant(records, item)}", item, place)
        for key in keys
        for place, record in enumerate(records)
        for item in record.worst
        if _key(item) == key
    ]
    note = "▲ marks a run that leads every other by more than the choice of images explains, at 95 %."
    return tag(
        "div",
        table(head, rows, caption="The runs side by side", kind="even" if len(records) <= 2 else "even many"),
        tag("p", note, class_="about"),
        curves(entries),
    )


def _together(records: Sequence[Record]) -> list[list[Child]]:
    """What all attacks that every run was put through leave together, a row for each threat."""
    common = set.intersection(*({_key(item) for item in record.attacks if item.outcomes} for record in records))
    every = [cheapest.within([item for item in record.attacks if _key(item) in common]) for record in records]
    rows: list[list[Child]] = []
    for first in every[0]:
        own = [next((item for item in found if (item.threat, item.split) == (first.threat, first.split)), None)
               for found in every]  # fmt: skip
        if len(first.attacks) < 2 or any(item is None for item in own):
            continue
        more = "" if first.split == "test" else f", {first.split} split"
        note = tag("span", f"all {len(first.attacks)} attacks together{more}", class_="sub")
        figures = [Figure(item.robust, item.interval, item.n) for item in own if item is not None]
        rows.append([["right under ", code(first.threat), note], *_cells(figures)])
    return rows


def _variant(records: Sequence[Record], item: Attacked) -> str:
    """What sets a curve apart from the others of its chart, beside its run."""
    beside = [other for record in records for other in record.worst if other.threat_name == item.threat_name]
    extra = [item.attack] if len({other.attack for other in beside}) > 1 else []
    extra += [item.threat] if len({other.threat for other in beside}) > 1 else []
    extra += [f"{item.split} split"] if len({other.split for other in beside}) > 1 else []
    return "".join(f", {part}" for part in extra)


def _cells(figures: Sequence[Figure | None]) -> list[Child]:
    known = [item for item in figures if item is not None]
    best = max(known, key=lambda item: item.value)
    clear = len(known) > 1 and all(item is best or (_gap(best, item)[1] or 0.0) > 0 for item in known)
    cells: list[Child] = []
    for place, item in enumerate(figures):  # each run has one colour, in the table and in the charts
        if item is None:
            cells.append("–")
            continue
        lead = clear and item is best
        value = tag("strong" if lead else "span", percent(item.value), " ▲" if lead else None)
        between = "" if item.interval is None else f"{span(item.interval)}, "
        note = tag("span", f"{between}n{NBSP}={NBSP}{count(item.n)}", class_="sub")
        cells.append([value, charts.bar(item.value, item.interval, tone=place % charts.TONES), note])
    return cells

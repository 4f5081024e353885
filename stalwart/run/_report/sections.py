"""The sections of one run's report. Each gives its markup, or None where the run has nothing for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import stalwart
from stalwart.pages import charts
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Child, Html, clean, escape, folded, table, tag
from stalwart.pages.numbers import NBSP, count, duration, figure, percent, radius, span, spoken
from stalwart.run._report import cheapest, commands, words
from stalwart.run._report.full import written_out
from stalwart.run._report.measures import Measure
from stalwart.run._report.record import Attacked, Record
from stalwart.run._report.values import whole

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


_FLAG = re.compile(r"((?<!\S)--[a-z-]+)")


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    title: str
    body: Html


def code(text: str) -> Html:
    return tag("code", text)


def command(*lines: str) -> Html:
    """Commands to copy. An option's name is never broken at its hyphens."""
    text = "\n\n".join(commands.folded(line) for line in lines)
    parts = [tag("span", part, class_="flag") if part.startswith("--") else part for part in _FLAG.split(text)]
    return tag("pre", tag("code", parts))


def summary(sentences: Sequence[words.Sentence]) -> Html:
    rows = []
    for sentence in sentences:
        said = [tag("p", sentence.said), command(sentence.command) if sentence.command else None]
        warned = "warned" if sentence.about == "Warnings" else None
        rows.append(tag("div", tag("dt", sentence.about), tag("dd", said), class_=warned))
    return tag("dl", rows, class_="summary")


def tiles(record: Record) -> Html:
    """The key figures."""
    found: list[Html] = []
    evaluation = record.evaluation
    if evaluation is not None:
        clean = evaluation.measure
        assert clean is not None
        bar = charts.bar(clean.value, clean.interval)
        found.append(_tile(f"{clean.heading}, untouched", percent(clean.value), _note(clean, evaluation.n), bar))
    for place, item in enumerate(record.worst[:4], 1):
        left = item.held
        bar = charts.bar(left.value, left.interval, tone=place % charts.TONES)
        name = [f"{left.heading} under ", code(item.threat)]
        found.append(_tile(name, percent(left.value), _note(left, item.n), bar))
    if evaluation is not None and evaluation.ece is not None:
        nll = f"NLL {figure(evaluation.nll)} nats" if evaluation.nll is not None else ""
        found.append(_tile("Calibration error (ECE)", f"{evaluation.ece:.3f}", nll))
    parameters = whole(record.start, "parameters")
    if record.epochs and "seconds" in record.epochs[-1]:
        note = f"{len(record.epochs)} epochs" + (f", {_short(parameters)} parameters" if parameters else "")
        found.append(_tile("Training time", duration(record.epochs[-1]["seconds"]), note))
    return tag("div", found, class_="tiles") if found else Html("")


def _note(measure: Measure, n: int) -> str:
    """The interval, where there is one, and how many images."""
    between = "" if measure.interval is None else f"{span(measure.interval)}, "
    return f"{between}n{NBSP}={NBSP}{count(n)}"


def _short(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.0f} k" if n >= 1e4 else count(n)


def _tile(name: Child, value: str, note: str, bar: Html | None = None) -> Html:
    return tag(
        "div", tag("p", name, class_="name"), tag("p", value, class_="value"), bar, tag("p", note, class_="note"),
        class_="tile",
    )  # fmt: skip


# ---------------------------------------------------------------- training


def training(record: Record) -> Section | None:
    if not record.epochs:
        return None
    epochs = Axis("epoch", lambda value: f"{value:.0f}", whole=True)
    last = record.epochs[-1]
    losses = [Line("training", _series(record, "train_loss"), tone=0)]
    losses += [Line("validation", _series(record, "val_loss"), tone=1, dash=1)]
    floor = min([0.0, *(b for line in losses for _, b in line.points)])
    shares = [
        key for key in last if key.startswith(("val_", "robust_")) and not key.endswith(("_loss", "_nll", "_ece"))
    ]
    shares = [key for key in shares if not key.endswith("_top5") and 0 <= last[key] <= 1]
    evaluation = record.evaluation
    if evaluation is not None and evaluation.dense and evaluation.measure is not None:  # one of a dozen figures
        shares = [key for key in shares if key.partition("_")[2] == evaluation.measure.kind]
    shares.sort(key=lambda key: key.startswith("robust_"))
    one = len({key.partition("_")[2] for key in shares}) == 1
    scores = [
        Line(_spoken(key, one), _series(record, key), tone=place, dash=place % 3) for place, key in enumerate(shares)
    ]
    least = min((b for line in scores for _, b in line.points), default=0.0)
    marks = (0.8, 0.85, 0.9, 0.95, 1) if least >= 0.82 else (0.5, 0.6, 0.7, 0.8, 0.9, 1) if least >= 0.55 else FIFTHS
    what = "share right" if all(key.endswith("_top1") for key in shares) else ""
    plots = [
        charts.lines("Loss", losses, epochs, Axis("mean over the epoch", figure, low=floor)),
        charts.lines("Score", scores, epochs, Axis(what, _ticks, marks[0], 1.0, marks)),
        charts.lines("Learning rate", [Line("", _series(record, "lr"), tone=2)], epochs,
                     Axis("at the epoch's end", _plain, low=0.0)),
    ]  # fmt: skip
    return Section("Training", tag("div", plots, class_="plots three"))


def _series(record: Record, key: str) -> list[tuple[float, float]]:
    return [(epoch["epoch"], epoch[key]) for epoch in record.epochs if key in epoch]


def _spoken(key: str, one: bool) -> str:
    """The name of a score; `one` says that all are of one metric, which then goes without saying."""
    where, _, name = key.partition("_")
    name = name.replace("_", " ").replace("top1", "top-1")
    return f"{'validation' if where == 'val' else 'validation, under attack'}{'' if one else f', {name}'}"


def _ticks(value: float) -> str:
    return percent(value, 0 if abs(100 * value - round(100 * value)) < 1e-9 else 1)


def _plain(value: float) -> str:
    return f"{value:.3g}"


def calibration(record: Record) -> Section | None:
    """Whether its confidence may be believed."""
    found = record.evaluation
    if found is None or found.ece is None:
        return None
    if found.ece < 0.02:
        verdict = "its confidence can nearly be read as a probability, on images like these."
    elif found.ece < 0.06:
        verdict = "its confidence is a fair guide, on images like these."
    else:
        verdict = "its confidence should not be read as a probability without recalibration."
    said = f"Confidence and accuracy differ by {100 * found.ece:.1f} points on average (ECE {found.ece:.4f}): {verdict}"
    if found.nll is not None:
        said += f" The negative log-likelihood is {figure(found.nll)} nats for each image; lower is better."
    if found.top5 is not None and len(found.per_class) > 5:
        said += f" The truth is among the five likeliest answers for {percent(found.top5)} of the images."
    if record.attacks:
        said += " Under attack none of this holds: see the confidences beside the pictures."
    return Section("Calibration", tag("p", said))


# ---------------------------------------------------------------- attacks


def curves(entries: Sequence[tuple[str, Attacked, int | None]]) -> Html:
    """What is left against ε, a chart for each kind of threat and of figure.

    Args:
        entries: a line's name, its attack, and its colour; None: the chart's next one.
    """
    kinds: dict[tuple[str, str], list[tuple[str, Attacked, int]]] = {}
    for label, item, tone in entries:
        if len(item.curve) > 1:
            group = kinds.setdefault((item.threat_name, item.held.kind), [])
            group.append((label, item, len(group) if tone is None else tone))
    plots = []
    for (kind, _), group in kinds.items():
        in_levels = all(item.in_levels for _, item, _ in group)
        lines = [
            Line(label, *_course(item), tone=tone % charts.TONES, dash=place % 3)
            for place, (label, item, tone) in enumerate(group)
        ]
        largest = max(item.epsilon for _, item, _ in group)
        ticks = _radius_ticks(largest) if in_levels else ()
        x = Axis("ε" if in_levels else "ε, as a share of the range" if kind == "linf" else "ε",
                 _radius(in_levels), low=0.0, high=largest, ticks=ticks)  # fmt: skip
        what = "share right" if group[0][1].graded is None else group[0][1].held.name
        y = Axis(f"{what}, with 95 % intervals" if any(line.band for line in lines) else what, _ticks, 0.0, 1.0, FIFTHS)
        plots.append(charts.lines(f"Within {clean(kind, 40)}(ε)", lines, x, y, size=(500, 310)))
    return tag("div", plots, class_="plots two") if plots else Html("")


def _course(item: Attacked) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(ε, figure) and the figure's interval at each radius; no intervals where one is missing."""
    if item.graded is None:
        return [(point.epsilon, point.share) for point in item.curve], [point.interval for point in item.curve]
    bands = [measure.interval for _, measure in item.graded.points if measure.interval is not None]
    points = [(epsilon, measure.value) for epsilon, measure in item.graded.points]
    return points, bands if len(bands) == len(points) else []


def _radius(in_levels: bool) -> Callable[[float], str]:
    return lambda value: radius(value, in_levels)


def _radius_ticks(largest: float) -> list[float]:
    return [level / 255 for level in charts.round_ticks(0, largest * 255, about=4)]


def robustness(record: Record) -> Section | None:
    if not record.attacks:
        return None
    names = [(f"{item.attack}{_variant(item, record)}", item) for item in record.attacks]
    dense = next((item.graded for item in record.attacks if item.graded is not None), None)
    head = ["threat", "attack", "ε", "right", "95 % interval", "n"]
    about = (
        "The share of images that stay right when an attacker may go as far as ε. Each curve falls by "
        "construction: what falls at a small ε has fallen at every larger one. The band is the 95 % interval."
    )
    if dense is not None:
        name = dense.robust.name
        head = ["threat", "attack", "ε", name, "95 % interval", "broken", "n"]
        about = (
            f"{name} when an attacker may go as far as ε: all steps are taken, and of every image the worst point "
            "counts, those at smaller ε among them. “Broken” is the share of images beyond the task's own bound, as "
            "some are before any attack. Attacks for the smallest change go no further than that bound, and are only "
            "counted."
        )
    rows: list[list[Child]] = []
    for name, item in names:
        measured = {} if item.graded is None else dict(item.graded.points)
        for point in item.curve or ():
            row: list[Child] = [code(item.threat), code(name), radius(point.epsilon, item.in_levels)]
            if dense is None:
                row += [percent(point.share), span(point.interval)]
            else:
                at = measured.get(point.epsilon)
                row += ["–", "–"] if at is None else [percent(at.value), span(at.interval)]
                row.append(percent(1 - point.share))
            rows.append([*row, count(item.n)])
    drawn = [(name, item, None) for name, item in names if dense is None or item.graded is not None]
    parts: list[Child] = [tag("p", about, class_="about"), curves(drawn)]
    if rows:
        parts.append(folded("The figures of these curves", table(head, rows, caption="What is left at each radius")))
    parts += [_all_figures(item) for item in record.worst if item.graded is not None and item.graded.figures]
    title = "Accuracy under attack" if dense is None else f"{dense.robust.name} under attack"
    return Section(title, tag("div", parts))


def _all_figures(item: Attacked) -> Html:
    """Every figure of the metric, untouched and at the full ε."""
    assert item.graded is not None
    rows = [(spoken(name), percent(before), percent(after)) for name, before, after in item.graded.figures]
    head: list[Child] = ["figure", "untouched", ["under ", code(item.threat)]]
    return folded(f"All figures within {item.threat}", table(head, rows, caption="All figures", kind="even"))


def smallest(record: Record) -> Section | None:
    """How small a change spoils each image, over all attacks within a threat."""
    found = cheapest.within(record.counted)
    return Section("Cheapest examples", cheapest.body(found, FIFTHS, _ticks)) if found else None


def _variant(item: Attacked, record: Record) -> str:
    """What sets an attack apart from the others of its name: threat, goal, split."""
    radii = {other.epsilon for other in record.attacks if other.threat_name == item.threat_name}
    extra = [item.goal] if item.goal else []
    extra += [f"ε up to {radius(item.epsilon, item.in_levels)}"] if len(radii) > 1 else []
    extra += [f"{item.split} split"] if len({other.split for other in record.attacks}) > 1 else []
    return f" ({', '.join(extra)})" if extra else ""


def cost(record: Record) -> Section | None:
    rows: list[list[Child]] = []
    if record.epochs and "seconds" in record.epochs[-1]:
        rows.append(["training", "–", "–", "–", duration(record.epochs[-1]["seconds"])])
    for found in record.evaluations:
        rows.append([f"evaluation, {found.split} split", count(found.n), "–", "–", duration(found.seconds)])
    for item in record.attacks:
        passes = [f"{count(n)} ({n / item.n:.1f})" if n is not None else "–" for n in (item.forwards, item.backwards)]
        what = [code(item.attack), " under ", code(item.threat)]
        rows.append([what, count(item.n), *passes, duration(item.seconds)])
    if not rows:
        return None
    head = ("", "images", "forward passes (per image)", "backward passes (per image)", "time")
    return Section("Cost", tag("div", table(head, rows, caption="What each measurement cost")))


# ---------------------------------------------------------------- provenance


def provenance(record: Record) -> Section | None:
    """What it takes to do all this again."""
    lists = []
    for title, part in (("Configuration", "spelling"), ("Settings", "settings"), ("Environment", "environment")):
        values = record.config.get(part)
        if isinstance(values, Mapping) and values:
            lists.append(_facts(title, values))
    card = {key: record.card[key] for key in ("epoch", "step", "licence", "sha256") if record.card.get(key) is not None}
    if card:
        names = {"epoch": "epoch of the checkpoint", "step": "step", "licence": "licence of the data"}
        lists.append(_facts("Checkpoint", {names.get(key, key): value for key, value in card.items()}))
    made = commands.reproduce(record)
    full = written_out(record)
    if not lists and not made:
        return None
    parts: list[Child] = [tag("div", lists, class_="facts")]
    if full:
        rows = [(code(short), code(whole)) for short, whole in full]
        parts += [
            tag("h4", "Spelled in full"),
            tag("p", f"With the defaults of Stalwart {stalwart.__version__}, which wrote this report.", class_="about"),
            table(("as spelled", "with every field"), rows, caption="Components with every field", kind="even"),
        ]
    if made:
        parts += [tag("h4", "Commands that make this again"), command(*made)]
    return Section("How it was made", tag("div", parts))


def _facts(title: str, values: Mapping[str, object]) -> Html:
    rows = [
        tag("div", tag("dt", clean(str(key), 60)), tag("dd", _value(value)))
        for key, value in list(values.items())[:60]
        if isinstance(value, str | int | float | bool | list) and value not in ("", "()", [])
    ]
    return tag("section", tag("h4", title), tag("dl", rows))


def _value(value: object) -> Html:
    if isinstance(value, bool):
        return escape("yes" if value else "no")
    if isinstance(value, list):
        return escape(clean(", ".join(map(str, value[:20]))))
    return escape(clean(value if isinstance(value, str) else str(value)))


def missing(record: Record) -> list[str]:
    """Sentences on what could not be read, and which parts no command has made yet."""
    found = [f"Left out: {item}" for item in record.damaged]
    if not record.epochs:
        found.append("There are no training curves: no epoch of this run has ended.")
    if record.attacks and not any(item.flips for item in record.attacks):
        found.append("There are no pictures: the results hold no adversarial example.")
    return found

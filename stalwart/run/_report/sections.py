"""The sections of one run's report. Each gives its markup, or None where the run has nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stalwart.core.statistics import wilson
from stalwart.pages import charts
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Child, Html, clean, escape, folded, table, tag
from stalwart.pages.numbers import NBSP, count, duration, figure, percent, radius, span
from stalwart.run._report import commands, words
from stalwart.run._report.record import Attacked, ClassRow, Evaluation, Record
from stalwart.run._report.values import whole

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

FEW_LOWEST = 3
"""Classes that may share the lowest figure and still stand out by it."""
MOST_ROWS = 30
"""Classes that are shown without a click, and the most that a confusion matrix is drawn for."""


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    title: str
    body: Html


def code(text: str) -> Html:
    return tag("code", text)


def command(text: str) -> Html:
    return tag("pre", tag("code", commands.folded(text)))


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
        note = f"{span(evaluation.interval)}, n{NBSP}={NBSP}{count(evaluation.n)}"
        bar = charts.bar(evaluation.top1, evaluation.interval)
        found.append(_tile("Right, untouched", percent(evaluation.top1), note, bar))
    for place, item in enumerate(record.worst[:4], 1):
        note = f"{span(item.interval)}, n{NBSP}={NBSP}{count(item.n)}"
        bar = charts.bar(item.robust, item.interval, tone=place % charts.TONES)
        found.append(_tile(["Right under ", code(item.threat)], percent(item.robust), note, bar))
    if evaluation is not None and evaluation.ece is not None:
        nll = f"NLL {figure(evaluation.nll)} nats" if evaluation.nll is not None else ""
        found.append(_tile("Calibration error (ECE)", f"{evaluation.ece:.3f}", nll))
    parameters = whole(record.start, "parameters")
    if record.epochs and "seconds" in record.epochs[-1]:
        note = f"{len(record.epochs)} epochs" + (f", {_short(parameters)} parameters" if parameters else "")
        found.append(_tile("Training time", duration(record.epochs[-1]["seconds"]), note))
    return tag("div", found, class_="tiles") if found else Html("")


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
    shares.sort(key=lambda key: key.startswith("robust_"))
    one = len({key.partition("_")[2] for key in shares}) == 1
    scores = [
        Line(_spoken(key, one), _series(record, key), tone=place, dash=place % 3) for place, key in enumerate(shares)
    ]
    least = min((b for line in scores for _, b in line.points), default=0.0)
    marks = (0.8, 0.85, 0.9, 0.95, 1) if least >= 0.82 else (0.5, 0.6, 0.7, 0.8, 0.9, 1) if least >= 0.55 else FIFTHS
    plots = [
        charts.lines("Loss", losses, epochs, Axis("mean over the epoch", figure, low=floor)),
        charts.lines("Score", scores, epochs, Axis("share right", _ticks, marks[0], 1.0, marks)),
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


# ---------------------------------------------------------------- classes


def classes(record: Record) -> Section | None:
    """The table of classes, the weakest first, and who is taken for whom."""
    evaluation = record.evaluation
    worst = [item for item in record.worst if item.per_class][:3]
    rows = _merged(evaluation, worst)
    if not rows:
        return None
    mean = evaluation.top1 if evaluation is not None else worst[0].clean
    head: list[Child] = ["class", "n", "right", ""]
    if any(row.precision is not None for row, _ in rows):
        head.append("precision")
    head += [["under ", code(item.threat)] for item in worst]
    lowest = [_lowest([robust[place] for _, robust in rows]) for place in range(len(worst))]
    lines = [_class_line(row, robust, mean, lowest, len(head)) for row, robust in rows]
    shown: list[Child] = [
        table(head, lines[:MOST_ROWS], caption="Accuracy of each class, the weakest first", kind="classes")
    ]
    if len(lines) > MOST_ROWS:
        rest = table(head, lines[MOST_ROWS:], caption="Accuracy of the other classes", kind="classes")
        shown.append(folded(f"The other {count(len(lines) - MOST_ROWS)} classes", rest))
    text = "The weakest class stands first. "
    if any(_weak(row, mean) for row, _ in rows):
        text += "▼ marks a class whose whole 95 % interval lies below the accuracy over all. "
    if worst:
        text += (
            "Under attack the figures are those of the strongest attack, on the images it was run on (– where it had "
            "none of the class); the lowest stands out."
        )
    parts: list[Child] = [tag("p", text, class_="about"), *shown]
    if evaluation is not None and evaluation.confusion:
        parts.append(_confusion(evaluation))
    return Section("Classes", tag("div", parts))


def _merged(evaluation: Evaluation | None, worst: Sequence[Attacked]) -> list[tuple[ClassRow, list[float | None]]]:
    """Each class with its robust accuracy under each threat, the weakest first."""
    source = evaluation.per_class if evaluation is not None and evaluation.per_class else ()
    if not source and worst:
        source = worst[0].per_class
    by_name = [{row.name: row.robust for row in item.per_class} for item in worst]
    merged = [(row, [robust.get(row.name) for robust in by_name]) for row in source]
    return sorted(
        merged, key=lambda pair: (pair[0].accuracy is None, pair[0].accuracy or 0.0, -pair[0].n, pair[0].name)
    )


def _weak(row: ClassRow, mean: float | None) -> bool:
    if row.accuracy is None or mean is None or not row.n:
        return False
    return wilson(round(row.accuracy * row.n), row.n)[1] < mean


def _lowest(shares: Sequence[float | None]) -> float | None:
    """The least of some shares, where few have it."""
    known = [value for value in shares if value is not None]
    return min(known) if known and min(known) < max(known) and known.count(min(known)) <= FEW_LOWEST else None


def _class_line(
    row: ClassRow, robust: Sequence[float | None], mean: float | None, lowest: Sequence[float | None], columns: int
) -> list[Child]:
    weak = _weak(row, mean)
    interval = None if row.accuracy is None or not row.n else wilson(round(row.accuracy * row.n), row.n)
    name = [
        clean(row.name, 60),
        tag("span", " ▼", class_="weak", title="below the accuracy over all") if weak else None,
    ]
    cells: list[Child] = [name, count(row.n), percent(row.accuracy), charts.bar(row.accuracy, interval)]
    if columns - len(cells) > len(robust):
        cells.append(percent(row.precision))
    for value, least in zip(robust, lowest, strict=True):
        outstanding = value is not None and value == least
        cells.append(tag("strong", percent(value), class_="weak") if outstanding else percent(value))
    return cells


def _confusion(evaluation: Evaluation) -> Html:
    names = [row.name for row in evaluation.per_class]
    pairs = sorted(
        ((n, i, j) for i, row in enumerate(evaluation.confusion) for j, n in enumerate(row) if n and i != j),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    totals = [sum(row) for row in evaluation.confusion]
    drawn = len(names) <= MOST_ROWS
    most = 10 if drawn else 20
    rows = [(clean(names[i], 60), clean(names[j], 60), count(n), percent(n / totals[i])) for n, i, j in pairs[:most]]
    listing: Child = tag("p", "Nothing is confused.", class_="about")
    if rows:
        caption = "Most frequent confusions"
        listing = tag(
            "div",
            tag("p", tag("strong", caption), class_="caption"),
            table(("truth", "answered as", "images", "of the class"), rows, caption=caption),
        )
    if not drawn:
        return tag("div", listing)
    return tag("div", charts.heat("Who is taken for whom", names, evaluation.confusion), listing, class_="plots two")


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


def curves(entries: Sequence[tuple[str, Attacked]]) -> Html:
    """Accuracy against ε, a chart for each kind of threat; each entry is a line's name and its attack."""
    kinds: dict[str, list[tuple[str, Attacked]]] = {}
    for label, item in entries:
        if len(item.curve) > 1:
            kinds.setdefault(item.threat_name, []).append((label, item))
    plots = []
    for kind, group in kinds.items():
        in_levels = all(item.in_levels for _, item in group)
        lines = [
            Line(
                label,
                [(point.epsilon, point.share) for point in item.curve],
                [point.interval for point in item.curve],
                tone=place % charts.TONES,
                dash=place % 3,
            )
            for place, (label, item) in enumerate(group)
        ]
        largest = max(item.epsilon for _, item in group)
        ticks = _radius_ticks(largest) if in_levels else ()
        x = Axis("ε" if in_levels else "ε, as a share of the range" if kind == "linf" else "ε",
                 _radius(in_levels), low=0.0, high=largest, ticks=ticks)  # fmt: skip
        y = Axis("share right, with 95 % intervals", _ticks, 0.0, 1.0, FIFTHS)
        plots.append(charts.lines(f"Within {clean(kind, 40)}(ε)", lines, x, y, size=(500, 310)))
    return tag("div", plots, class_="plots two") if plots else Html("")


def _radius(in_levels: bool) -> Callable[[float], str]:
    return lambda value: radius(value, in_levels)


def _radius_ticks(largest: float) -> list[float]:
    return [level / 255 for level in charts.round_ticks(0, largest * 255, about=4)]


def robustness(record: Record) -> Section | None:
    if not record.attacks:
        return None
    names = [(f"{item.attack}{_variant(item, record)}", item) for item in record.attacks]
    head = ("threat", "attack", "ε", "right", "95 % interval", "n")
    rows: list[list[Child]] = []
    for name, item in names:
        for point in item.curve or ():
            at = radius(point.epsilon, item.in_levels)
            rows.append([code(item.threat), code(name), at, percent(point.share), span(point.interval), count(item.n)])
    parts: list[Child] = [
        tag(
            "p",
            "The share of images that stay right when an attacker may go as far as ε. Each curve falls by "
            "construction: what falls at a small ε has fallen at every larger one. The band is the 95 % interval.",
            class_="about",
        ),
        curves(names),
    ]
    if rows:
        parts.append(folded("The figures of these curves", table(head, rows, caption="Accuracy at each radius")))
    return Section("Accuracy under attack", tag("div", parts))


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
    if not lists and not made:
        return None
    parts: list[Child] = [tag("div", lists, class_="facts")]
    if made:
        text = "\n\n".join(commands.folded(item) for item in made)
        parts += [tag("h4", "Commands that make this again"), tag("pre", tag("code", text))]
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

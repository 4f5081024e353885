"""The section on classes: how each fares, and which is taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.core.statistics import wilson
from stalwart.pages import charts
from stalwart.pages.html import Child, Html, clean, folded, table, tag
from stalwart.pages.numbers import count, percent, spoken
from stalwart.run._report import recall
from stalwart.run._report.outliers import weak
from stalwart.run._report.record import Attacked, ClassRow, Evaluation, Record
from stalwart.run._report.sections import Section, code

FEW_LOWEST = 3
"""Classes that may share the lowest figure and still stand out by it."""
SHORT = 5
"""Characters of a class's name that leave a phone room for one more column."""
MOST_ROWS = 30
"""Classes that are shown without a click, and the most that a confusion matrix is drawn for."""


def classes(record: Record) -> Section | None:
    """The table of classes, the weakest first, and who is taken for whom."""
    evaluation = record.evaluation
    if (evaluation is not None and evaluation.dense) or any(item.graded for item in record.attacks):
        return _dense(record, evaluation)
    worst = [item for item in record.worst if item.per_class][:3]
    rows = _merged(evaluation, worst)
    if not rows:
        return None
    marked = weak([(row.accuracy, row.n) for row, _ in rows])
    head: list[Child] = ["class", "n", "right", ""]
    if any(row.precision is not None for row, _ in rows):
        head.append("precision")
    head += [["under ", code(item.threat)] for item in worst]
    lowest = [_lowest([robust[place] for _, robust in rows]) for place in range(len(worst))]
    lines = [
        _class_line(row, robust, below, lowest, len(head)) for (row, robust), below in zip(rows, marked, strict=True)
    ]
    kind = "classes short" if all(len(row.name) <= SHORT for row, _ in rows) else "classes"
    shown: list[Child] = [
        table(head, lines[:MOST_ROWS], caption="Accuracy of each class, the weakest first", kind=kind)
    ]
    if len(lines) > MOST_ROWS:
        rest = table(head, lines[MOST_ROWS:], caption="Accuracy of the other classes", kind=kind)
        shown.append(folded(f"The other {count(len(lines) - MOST_ROWS)} classes", rest))
    text = "The weakest class stands first. "
    if any(marked):
        text += (
            "▼ marks a class that lies below the others by more than chance explains (Fisher's exact test, 5 % over "
            "all classes together). "
        )
    if worst:
        text += (
            "Under attack the figures are those of the strongest attack, on the images it was run on (– where it had "
            "none of the class); the lowest stands out."
        )
    parts: list[Child] = [tag("p", text, class_="about"), *shown]
    if evaluation is not None and evaluation.confusion:
        parts.append(_confusion(evaluation))
    return Section("Classes", tag("div", parts))


def _dense(record: Record, evaluation: Evaluation | None) -> Section | None:
    """Each class's figures of the task's own metric, untouched and under each threat."""
    worst = [item for item in record.worst if item.graded is not None and item.graded.classes][:3]
    source = evaluation.figures if evaluation is not None else ()
    if not source and worst and worst[0].graded is not None:
        source = worst[0].graded.classes
    names = list(dict.fromkeys(name for row in source for name in row.clean))
    if not names:
        return None
    kinds = [item.held.kind for item in worst] + (
        [evaluation.measure.kind] if evaluation and evaluation.measure else []
    )
    first = next((name for kind in kinds for name in names if name in (kind, kind.removeprefix("m"))), names[0])
    attacked = [(item, {row.name: row.robust for row in item.graded.classes}) for item in worst if item.graded]
    head: list[Child] = ["class", "n", *(spoken(name) for name in names), ""]
    head += [[f"{spoken(first)} under ", code(item.threat)] for item, _ in attacked]
    rows: list[list[Child]] = []
    for row in sorted(source, key=lambda row: (first not in row.clean, row.clean.get(first, 0.0), row.name)):
        cells: list[Child] = [clean(row.name, 60), count(row.n)]
        cells += [percent(row.clean.get(name)) for name in names]
        cells.append(charts.bar(row.clean.get(first)))
        rows.append([*cells, *(percent(own.get(row.name, {}).get(first)) for _, own in attacked)])
    caption = "Figures of each class, the weakest first"
    text = "The weakest class stands first. n counts pixels or objects of the class, whichever the task is about."
    parts: list[Child] = [tag("p", text, class_="about"), table(head, rows[:MOST_ROWS], caption=caption)]
    if len(rows) > MOST_ROWS:
        rest = table(head, rows[MOST_ROWS:], caption="Figures of the other classes")
        parts.append(folded(f"The other {count(len(rows) - MOST_ROWS)} classes", rest))
    plots: list[Html] = []
    if evaluation is not None and evaluation.precision:
        plots.append(recall.chart([row.name for row in evaluation.per_class], evaluation.precision))
    if evaluation is not None and evaluation.confusion and len(evaluation.confusion) <= MOST_ROWS:
        names = [row.name for row in evaluation.per_class]
        what = "objects" if first.startswith("ap") else "pixels"
        plots.append(charts.heat(f"Which {what} are taken for which", names, evaluation.confusion))
    if plots:
        parts.append(tag("div", plots, class_="plots two"))
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


def _lowest(shares: Sequence[float | None]) -> float | None:
    """The least of some shares, where few have it."""
    known = [value for value in shares if value is not None]
    return min(known) if known and min(known) < max(known) and known.count(min(known)) <= FEW_LOWEST else None


def _class_line(
    row: ClassRow, robust: Sequence[float | None], below: bool, lowest: Sequence[float | None], columns: int
) -> list[Child]:
    interval = None if row.accuracy is None or not row.n else wilson(round(row.accuracy * row.n), row.n)
    name = [
        clean(row.name, 60),
        tag("span", " ▼", class_="weak", title="weaker than the others") if below else None,
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

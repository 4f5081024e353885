"""What is printed when a runner has ended: predictions, attacks, audits, and the figures of anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stalwart.cli.figures import number, seconds, share
from stalwart.pages.numbers import spoken


def predictions(rows: list[Mapping[str, Any]]) -> Table:
    """A row for each file."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", overflow="fold")
    names = list(dict.fromkeys(n for row in rows for n, v in row.items() if n not in ("file", "top") and _flat(v)))
    for name in names:
        table.add_column(name, justify="right" if name == "confidence" else "left")
    for row in rows:
        cells = {name: "yes" if value is True else "no" if value is False else value for name, value in row.items()}
        table.add_row(Text(str(row.get("file", ""))), *(Text(number(name, cells.get(name))) for name in names))
    return table


def attacks(rows: list[Mapping[str, Any]]) -> Table:
    """What each attack left of the share of right answers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Accuracy, with 95 % intervals", title_justify="left")
    named = any("run" in row for row in rows)
    for name in (*(("run",) if named else ()), "attack", "threat"):
        table.add_column(name, overflow="fold")
    for name in ("images", "clean", "under attack", "passes an image", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        count = int(row.get("n") or 0)
        passes = (int(row.get("forwards") or 0) + int(row.get("backwards") or 0)) / count if count else 0.0
        table.add_row(
            *([Text(str(row.get("run", "")), style="bold")] if named else []),
            Text(str(row.get("attack", ""))),
            Text(str(row.get("threat", ""))),
            f"{count:,}",
            share(row["clean_accuracy"]) if row.get("clean_accuracy") is not None else "–",
            share(row["robust_accuracy"], row.get("interval")),
            f"{passes:.1f}",
            seconds(float(row.get("seconds") or 0.0)),
        )
    return table


_STYLES = {"trusted": "bold green", "passed": "green", "doubtful": "yellow", "broken": "bold red"}


def audit(values: Mapping[str, Any], whole: bool) -> Table:
    """The verdict on one figure, with every check or (of several audits) those alone that fired."""
    verdict, checks = str(values.get("verdict", "")), list(values.get("checks") or [])
    passed = sum(check["outcome"] == "passed" for check in checks)
    of = f"{values['run']}, " if "run" in values else ""
    figure = f"{share(values['robust_accuracy'])}, with all reruns {share(values['lowest'], values.get('interval'))}"
    if values.get("score"):
        own = f"{spoken(values['score'])} {share(values['robust_score'])}, with all reruns "
        figure = f"{own}{share(values['lowest_score'])}; images within the task's bound {figure}"
    title = Text.assemble(
        ("Audit: ", "bold"),
        (verdict, _STYLES.get(verdict, "bold")),
        f"  {of}{values.get('attack')} under {values.get('threat')}: {figure}; {values.get('n')} images, {passed} of "
        f"{len(checks)} checks passed",
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        if whole or check["outcome"] in ("doubtful", "broken"):
            outcome = str(check["outcome"])
            table.add_row(Text(outcome, style=_STYLES.get(outcome, "dim")), Text(check["name"]), Text(check["says"]))
    return table


def figures(values: Mapping[str, Any]) -> list[Table]:
    """The plain figures as one table, and one row for each class where they are given."""
    given: Mapping[str, Any] = values.get("figures") or values
    intervals: Mapping[str, Any] = values.get("intervals") or {}
    title = None
    if "figures" in values:
        parts = [f"{values[key]}" for key in ("checkpoint", "data", "split") if values.get(key)]
        title = Text(", ".join([*parts, f"{values['n']:,} images"] if "n" in values else parts), style="bold")
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False, title=title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in given.items():
        if name in ("kind", "path") or (name == "n" and title is not None):
            continue
        if name == "interval":
            table.add_row(Text("95 % interval"), f"{number(name, value[0])} to {number(name, value[1])}")
        elif name in intervals and isinstance(value, int | float):
            table.add_row(Text(name), f"{share(value, intervals[name])}, 95 % interval")
        elif _flat(value):
            table.add_row(Text(name), Text(number(name, value)))
    tables = [table] if table.row_count else []
    classes = given.get("per_class")
    if classes and all(isinstance(row, Mapping) for row in classes):
        names = list(classes[0])
        each = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in names:
            each.add_column(name, justify="left" if name == "name" else "right")
        for row in classes:
            shares = {n: n not in ("name", "n") and row.get(n) is not None for n in names}
            each.add_row(*(share(row[n]) if shares[n] else Text(number(n, row.get(n))) for n in names))
        tables.append(each)
    return tables


def _flat(value: Any) -> bool:
    return value is not None and isinstance(value, bool | int | float | str)

"""Tables of a data check: splits, findings, classes. They fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

MOST_CLASSES = 30
"""Classes listed at most, the most frequent ones; the page and the JSON have all."""
LONGEST = 120
"""Characters of a finding's first example."""
_STYLES = {"refused": "bold red", "left out": "yellow", "cut": "yellow"}


def tables(values: Mapping[str, Any]) -> list[Table]:
    return [_splits(values), _findings(values), _classes(values)]


def _splits(values: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(str(values["name"]), style="bold"),
                  title_justify="left")  # fmt: skip
    table.add_column("split")
    shown = {"images": "images", "unreadable": "unreadable", "unlabelled": "unlabelled", "labels": str(values["unit"])}
    if values["unit"] == "images":  # one label an image
        del shown["labels"]
    for name in (*shown.values(), "smallest", "largest"):
        table.add_column(name, justify="right")
    for one in values["splits"]:
        sizes = [f"{one[key][1]}×{one[key][0]}" if one[key] else "–" for key in ("smallest", "largest")]
        table.add_row(Text(one["split"]), *(f"{one[key]:,}" for key in shown), *sizes)
    return table


def _findings(values: Mapping[str, Any]) -> Table:
    rows = values["findings"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text("Findings" if rows else "Nothing is odd.",
                  style="bold"), title_justify="left", show_header=bool(rows))  # fmt: skip
    table.add_column("finding", no_wrap=True)
    table.add_column("split")
    table.add_column("n", justify="right")
    table.add_column("then", no_wrap=True)
    table.add_column("the first", overflow="fold")
    for one in rows:
        then, first = str(one["then"]), str(one["examples"][0])
        short = first if len(first) <= LONGEST else f"…{first[1 - LONGEST :]}"
        mark = Text(then, style=_STYLES.get(then, "dim"))
        table.add_row(Text(one["finding"]), Text(one["split"]), f"{one['count']:,}", mark, Text(short))
    return table


def _classes(values: Mapping[str, Any]) -> Table:
    rows, splits = list(values["per_class"]), [str(one["split"]) for one in values["splits"]]
    totals = {split: max(sum(row[split] for row in rows), 1) for split in splits}
    rows.sort(key=lambda row: -row[splits[0]])
    title = f"Classes, by {values['unit']}"
    if len(rows) > MOST_CLASSES:
        title += f"; the {MOST_CLASSES} most frequent of {len(rows)}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title, style="bold"), title_justify="left")
    table.add_column("class", overflow="fold")
    for split in splits:
        table.add_column(split, justify="right", no_wrap=True)
    for row in rows[:MOST_CLASSES]:
        shares = [f"{row[split]:,} ({100 * row[split] / totals[split]:.1f} %)" for split in splits]
        table.add_row(Text(str(row["name"])), *shares)
    return table

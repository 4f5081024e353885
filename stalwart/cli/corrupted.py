"""The table of errors under common corruptions, in eighty columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stalwart.cli.figures import seconds
from stalwart.pages.numbers import spoken


def tables(values: Mapping[str, Any]) -> list[Table]:
    """The whole result: a line of means, and a row for each corruption."""
    levels, kinds = list(values["severities"]), list(values["kinds"])
    kind = str(values.get("score") or "top1")
    name = "error" if kind == "top1" else spoken(kind)

    def shown(error: Any) -> str:
        return _share(error if kind == "top1" or error is None else 1 - error)

    title = Text.assemble(
        (f"{'Error' if kind == 'top1' else name} under corruption", "bold"),
        f"  {values['split']} split, {values['n']:,} images, {seconds(float(values['seconds']))}; per cent, constants "
        f"for {values['constants']}",
    )
    compared = values.get("baseline") is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("corruption", no_wrap=True)
    for column in [*map(str, levels), "mean", *(["CE"] if compared else [])]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("none", *["" for _ in levels], shown(values["clean_error"]), end_section=True)
    for row in kinds:
        cells = [*map(shown, [*row["errors"], row["error"]]), *([_share(row.get("ce"))] if compared else [])]
        table.add_row(Text(str(row["name"])), *cells)
    means = Table(box=None, show_header=False, pad_edge=False)
    means.add_column(style="bold")
    means.add_column(justify="right", no_wrap=True)
    means.add_column(overflow="fold")
    means.add_row(f"mean {name}", shown(values["mean_error"]) + " %", "a plain mean over kinds and severities")
    if compared:
        means.add_row("mCE", _share(values["mce"]) + " %", Text(f"relative to {values['baseline']}"))
        means.add_row("relative mCE", _share(values["relative_mce"]) + " %", "the same less each model's clean error")
    return [table, means]


def _share(value: Any) -> str:
    return "–" if value is None else f"{100 * float(value):.1f}"

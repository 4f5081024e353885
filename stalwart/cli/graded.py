"""Tables of a task's own metric under attack, and of what attacks towards a class won, in eighty columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stalwart.cli.figures import seconds, share
from stalwart.pages.numbers import radius, spoken


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each attack's result that has a `score`, and one beneath it for each smaller radius.

    `broken` is the share of images that fall short of the task's own bound.
    """
    name = spoken(str(rows[0]["score"]))
    title = f"{name} on each image's worst point, and images broken by the task's bound"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    named = any("run" in row for row in rows)
    for column in (*(("run",) if named else ()), "attack", "threat"):
        table.add_column(column, overflow="fold")
    for column in ("ε", "images", name, "broken", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        who = [Text(str(row["run"]), style="bold")] if "run" in row else [Text("")] if named else []
        who += [Text(str(row.get("attack", ""))), Text(str(row.get("threat", "")))]
        in_levels = "/255" in str(row.get("threat", ""))
        points = list(row.get("curve") or [])
        for place, point in enumerate(points):
            broken = 1 - float(point["robust_accuracy"])
            table.add_row(
                *(who if place == 0 else [""] * len(who)),
                radius(float(point["epsilon"]), in_levels),
                f"{int(row.get('n') or 0):,}" if place == 0 else "",
                "–" if point.get("score") is None else share(point["score"]),
                share(broken),
                seconds(float(row.get("seconds") or 0.0)) if place == 0 else "",
                end_section=place == len(points) - 1,
            )
    return table


def towards(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each attack that wants one class, with the share of images in which it got it."""
    title = "Images in which everything is taken for the class, with 95 % intervals"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column in ("attack", "threat", "toward"):
        table.add_column(column, overflow="fold")
    for column in ("images", "untouched", "attacked", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(Text(str(row.get(key, ""))) for key in ("attack", "threat", "toward")),
            f"{int(row.get('n') or 0):,}",
            share(1 - float(row["clean_accuracy"])),
            share(row["reached"], row.get("reached_interval")),
            seconds(float(row.get("seconds") or 0.0)),
        )
    return table

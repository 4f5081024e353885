"""Tables of a driver's score, a row for each scenario and one for all, and of what it perceives, a column for each
weather; narrow enough for 80 letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stalwart.cli.figures import share

MOST_FAILURES = 10
"""Failures listed at most; `--out` and `--json` have all."""


def tables(values: Mapping[str, Any]) -> list[Table]:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left",
        title=Text(f"{values['driver']}, {values['suite']}, {values['split']}, seed {values['seed']}", style="bold"),
    )  # fmt: skip
    table.add_column("scenario", overflow="fold")
    for name in ("drives", "clean", "CARLA", "nuPlan", "hits", "at fault", "red", "RSS"):
        table.add_column(name, justify="right", no_wrap=name != "at fault")
    for name, one in values["scenarios"].items():
        table.add_row(Text(name), *_cells(one))
    if len(values["scenarios"]) > 1:
        table.add_section()
        table.add_row(Text("all", style="bold"), *_cells(values["all"]))
    return [table, *_beside(values), *_failures(values["failures"])]


def perceived(values: Mapping[str, Any]) -> Table:
    title = f"{values['driver']}, {values['split']}, seed {values['seed']}, sensors: {values['sensors']}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title, style="bold"), title_justify="left")
    table.add_column("figure")
    for name in values["styles"]:
        table.add_column(str(name), justify="right")
    columns = list(values["styles"].values())
    for figure in columns[0]:
        table.add_row(Text(figure), *(f"{one[figure]:,.0f}" if figure == "moments" else f"{one[figure]:.3f}"
                                      for one in columns))  # fmt: skip
    return table


def _cells(one: Mapping[str, Any]) -> list[str]:
    return [
        f"{one['drives']:,}", share(one["clean"], one["clean_95"]).replace(" (", "\n("), f"{one['mean_carla']:.3f}",
        f"{one['mean_nuplan']:.3f}", f"{one['collisions']:,}", f"{one['at_fault_collisions']:,}",
        f"{one['red_lights']:,}", f"{one['rss_violations']:,}",
    ]  # fmt: skip


def _beside(values: Mapping[str, Any]) -> list[Table]:
    """The other drivers, a row each, and how far the driver is above them."""
    if not values.get("beside"):
        return []
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left", caption_justify="left",
        title=Text("On the same drives", style="bold"),
        caption=Text("above: the first one's CARLA score less this one's, drive by drive (95 %)", style="dim"),
    )  # fmt: skip
    table.add_column("driver", overflow="fold", min_width=12)
    for name in ("clean", "CARLA", "nuPlan", "hits", "red", "stop", "above", "better\nworse"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in ({"driver": values["driver"], "all": values["all"]}, *values["beside"]):
        every, above = one["all"], one.get("above", {}).get("carla")
        cells = [
            f"{100 * every['clean']:.1f} %", f"{every['mean_carla']:.3f}", f"{every['mean_nuplan']:.3f}",
            *(f"{every[k]:,}" for k in ("collisions", "red_lights", "stop_signs")),
        ]  # fmt: skip
        if above is not None:
            low, high = above["difference_95"]
            cells += [f"{above['difference']:+.3f}\n({low:.3f} to\n{high:.3f})", f"{above['better']}\n{above['worse']}"]
        table.add_row(Text(str(one["driver"])), *cells)
    return [table]


def _failures(failed: list[Mapping[str, Any]]) -> list[Table]:
    if not failed:
        return []
    title = f"Failures: {len(failed):,}" + (f", the first {MOST_FAILURES}" if len(failed) > MOST_FAILURES else "")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title, style="bold"), title_justify="left")
    table.add_column("scenario", overflow="fold")
    table.add_column("world", justify="right")
    table.add_column("why", overflow="fold")
    for one in failed[:MOST_FAILURES]:
        table.add_row(Text(str(one["scenario"])), str(one["world"]), Text(", ".join(map(str, one["why"]))))
    return [table]

"""The table of an attack in the loop: the clean drive, controls and attacks, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def tables(values: Mapping[str, Any]) -> list[Table]:
    guards = ", ".join(values["guards"]) or "none"
    title = f"{values['driver']}, trusts {values['trust'] or 'its own sensors'}, guards: {guards}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title, style="bold"), title_justify="left")
    table.add_column("drive", overflow="fold")
    for name in ("drives", "crash", "per km (95 %)", "to crash", "score"):
        table.add_column(name, justify="right")
    table.add_row("clean", *_cells(values["clean"]))
    for row in values["attacks"]:
        table.add_section()
        for name, control in row["controls"].items():
            table.add_row(Text(name), *_cells(control))
        table.add_row(Text(str(row["attack"]), style="bold"), *_cells(row))
    return [table]


def _cells(one: Mapping[str, Any]) -> list[str]:
    low, high = one["collisions_per_km_95"]
    late = one["seconds_to_collision"]
    return [
        f"{one['drives']:,}", f"{one['collisions']:,}", f"{one['collisions_per_km']:.2f} ({low:.2f} to {high:.2f})",
        "–" if late is None else f"{late:.1f} s", f"{one['carla']:.3f}",
    ]  # fmt: skip

"""Tables of what defences are worth: a shield's three numbers, a certified curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stalwart.cli.figures import seconds, share


def shields(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each attack on a shielded model: clean, without the shield, with it by either attacker."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Accuracy, with 95 % intervals", title_justify="left")
    for name in ("shield", "attack", "threat"):
        table.add_column(name, overflow="fold")
    for name in ("images", "clean", "attacked without it", "naive attack", "adaptive attack", "time"):
        table.add_column(name, justify="right")
    for row in rows:
        three = [row[name] for name in ("without", "naive", "adaptive")]
        kind = "masks" if row.get("masks") else "certified" if row.get("certifies") else ""
        table.add_row(
            Text(f"{row['shield']}" + (f" ({kind})" if kind else "")),
            Text(str(row["attack"])),
            Text(str(row["threat"])),
            f"{row['n']:,}",
            share(row["clean_accuracy"]),
            *(share(found["robust_accuracy"], found["interval"]) for found in three),
            seconds(sum(float(found["seconds"]) for found in three)),
        )
    return table


def tables(values: Mapping[str, Any]) -> list[Table]:
    """What a certificate's result has beside its plain figures."""
    if values.get("kind") != "certify":
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("L2 radius", "certified accuracy, with its 95 % interval"):
        table.add_column(name, justify="right")
    for point in list(values.get("curve") or [])[::4]:
        table.add_row(f"{point['epsilon']:.3f}", share(point["certified_accuracy"], point["interval"]))
    return [table]

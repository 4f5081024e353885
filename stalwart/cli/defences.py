"""Tables of what defences are worth: a shield's three numbers, a certified curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stalwart.cli.figures import seconds, share


def shields(values: Mapping[str, Any]) -> Table:
    """A shielded model under attack: a row for each attacker, who meets it bare, does not know the shield, or does."""
    kind = " (masks)" if values.get("masks") else " (certified)" if values.get("certifies") else ""
    title = Text.assemble(
        ("Shield: ", "bold"),
        f"{values['shield']}{kind}  under {values['threat']}; {values['n']:,} images, clean "
        f"{share(values['clean_accuracy'])}",
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("attack", no_wrap=True)
    table.add_column("as spelled", overflow="fold")
    table.add_column("accuracy, with its 95 % interval", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    for name, called in (("without", "without the shield"), ("naive", "naive"), ("adaptive", "adaptive")):
        found = values[name]
        table.add_row(
            Text(called),
            Text(str(found["attack"])),
            share(found["robust_accuracy"], found["interval"]),
            seconds(float(found["seconds"])),
        )
    return table


def tables(values: Mapping[str, Any]) -> list[Table]:
    """What a certificate's result has beside its plain figures."""
    if values.get("kind") == "transfer":
        return [_transfers(values)]
    if values.get("kind") != "certify":
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("L2 radius", "certified accuracy, with its 95 % interval"):
        table.add_column(name, justify="right")
    for point in list(values.get("curve") or [])[::4]:
        table.add_row(f"{point['epsilon']:.3f}", share(point["certified_accuracy"], point["interval"]))
    return [table]


def _transfers(values: Mapping[str, Any]) -> Table:
    """A row for the model that was attacked, a column for each that was asked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Still right", title_justify="left")
    table.add_column("made against", overflow="fold")
    for run in values["runs"]:
        table.add_column(str(run), justify="right", overflow="fold")
    table.add_row("untouched", *(share(value) for value in values["untouched"]))
    for run, row, intervals in zip(values["runs"], values["accuracy"], values["intervals"], strict=True):
        table.add_row(Text(str(run)), *(share(value, own) for value, own in zip(row, intervals, strict=True)))
    return table

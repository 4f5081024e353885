"""Tables of what defences are worth: a shield's three numbers, a certified curve, a detector's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def detections(values: Mapping[str, Any]) -> list[Table]:
    """A detector and the baseline beside it: what is told apart, who is flagged, who passes all the same."""
    fit = f", fitted on {values['fit_attack']}" if values.get("fit_attack") else ""
    title = Text.assemble(
        ("Detectors: ", "bold"), f"{values['detector']}{fit}, under {values['threat']}; {values['n']:,} test images"
    )
    told = _rated(title, "attack", ("successes", "AUROC, 95 % interval", "caught at 5 %", "at 1 %"))
    alarms = _rated("Flagged though nobody attacked, 95 % intervals", "images", ("n", "at 5 %", "at 1 %"))
    evaded: list[Table] = []
    for scorer in values["scorers"]:
        name = Text(scorer["detector"] + (" (baseline)" if scorer["baseline"] else ""), style="bold")
        levels = (scorer["evasion"] or {}).get("levels", [])
        for table in (told, alarms):
            table.add_section()
            table.add_row(name)
        for row in scorer["attacks"]:
            low, high = row["auroc"]["clean"]["interval"]
            area = f"{row['auroc']['clean']['value']:.3f} ({low:.3f} to {high:.3f})" if row["n"] else "–"
            caught = ("–" if alarm["share"] is None else share(alarm["share"]) for alarm in row["alarms"])
            told.add_row(Text(row["attack"] + (" (fitted on)" if row["seen"] else "")), f"{row['n']:,}", area, *caught)
        for side in scorer["negatives"]:
            rates = (share(alarm["share"], alarm["interval"]) for alarm in side["alarms"])
            alarms.add_row(Text(side["name"]), f"{side['n']:,}", *rates)
        if levels:
            title = Text.assemble((name.plain, "bold"), ": wrong and not flagged, by attackers who know both")
            columns = ("evasion", "summed", "orthogonal", "matching", "no guard")
            evaded.append(_rated(title, "rate, ε", columns))
        for level in levels:
            for point in level["curve"]:
                each = (f"{100 * point[key]:.0f} %" for key in ("summed", "orthogonal", "matching", "undefended"))
                found = share(point["evasion"], point["interval"])
                where = f"{100 * level['at']:.0f}\u00a0%,\u00a0{point['epsilon']:.3g}"
                evaded[-1].add_row(where, found, *each)
    return [told, alarms, *evaded]


def _rated(title: str | Text, first: str, columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
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

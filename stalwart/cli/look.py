"""`stalwart list` and `stalwart show`: what there is, and how it is written."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stalwart.cli.console import out
from stalwart.cli.shelf import rooms
from stalwart.core.errors import SpellingError, nearest

_NOTES = {"models": "Also any classifier of torchvision or timm by its own name, such as resnet50()."}

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def list_rooms(
    room: Annotated[str, typer.Argument(help="One room, such as 'attacks'. Without it: all.")] = "",
    as_json: Json = False,
) -> None:
    """List the parts that a command can name: data, models, attacks and so on."""
    shelf = rooms()
    if room and room not in shelf:
        raise SpellingError(f"there is no room {room!r} in the catalog. {nearest(room, shelf)}")
    chosen = {room: shelf[room]} if room else shelf
    if as_json:
        print(json.dumps(chosen, indent=2, ensure_ascii=False))
        return
    console = out()
    for name, summaries in chosen.items():
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold cyan", no_wrap=True)
        table.add_column()
        for component, summary in summaries.items():
            table.add_row(Text(component), Text(summary))
        console.print(Text(name, style="bold"))
        console.print(Padding(table, (0, 0, 0, 2)))
        if name in _NOTES:
            console.print(Padding(Text(_NOTES[name], style="dim"), (0, 0, 0, 2)))
        console.print()
    console.print(Text("`stalwart show NAME` tells all about one, for example: stalwart show pgd", style="dim"))


def show(
    path: Annotated[str, typer.Argument(help="A component, such as 'attacks.pgd' or 'pgd'.")],
    as_json: Json = False,
) -> None:
    """Show what a component does, its fields, their types, ranges and defaults."""
    path = _full_path(path)
    from stalwart.core import catalog  # imports PyTorch

    doc, fields = catalog.describe(path)
    if as_json:
        notes = [{"name": f.name, "type": f.type, "default": f.default, "doc": f.doc} for f in fields]
        print(json.dumps({"path": path, "doc": doc, "fields": notes}, indent=2, ensure_ascii=False))
        return
    console = out()
    console.print(Text(path, style="bold cyan"))
    console.print(Padding(Text(doc), (1, 2)))
    if not fields:
        console.print(Padding(Text("It has no fields."), (0, 2)))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("field", style="bold", no_wrap=True)
    table.add_column("type")
    table.add_column("default", no_wrap=True)
    table.add_column("meaning")
    for field in fields:
        default = Text("required", style="yellow") if field.default is None else Text(field.default)
        table.add_row(Text(field.name), Text(field.type), default, Text(" ".join(field.doc.split())))
    console.print(Padding(table, (0, 2)))


def _full_path(path: str) -> str:
    """`attacks.pgd` for `pgd` where one room alone has it; parentheses after the name are forgiven."""
    path = path.partition("(")[0].strip()
    shelf = rooms()
    room, dot, name = path.partition(".")
    if not dot:
        places = [f"{room}.{path}" for room, known in shelf.items() if path in known]
        if len(places) == 1:
            return places[0]
        if places:
            raise SpellingError(f"{path!r} is in several rooms: {', '.join(places)}. Name one of them in full.")
        if path in shelf:
            raise SpellingError(f"{path!r} is a room: `stalwart list {path}` lists it.")
        raise SpellingError(f"there is no component {path!r}. {nearest(path, {n for k in shelf.values() for n in k})}")
    if room not in shelf:
        raise SpellingError(f"there is no room {room!r} in the catalog. {nearest(room, shelf)}")
    if name not in shelf[room]:
        raise SpellingError(f"there is no {name!r} in {room}. {nearest(name, shelf[room])}")
    return path

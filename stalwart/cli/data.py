"""`stalwart data check`: what is wrong with a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stalwart.cli.listen import play
from stalwart.cli.work import Json, Quiet

app = typer.Typer(
    name="data",
    help="Look at a data set.",
    epilog="Examples:\n\nstalwart data check \"coco('street/')\"",
    no_args_is_help=True,
)


@app.callback()
def _room() -> None:
    """Look at a data set."""


@app.command(
    "check",
    epilog="Examples:\n\nstalwart data check \"coco('street/')\"\n\n"
    "stalwart data check \"folder('pets/')\" --out pets.html",
)
def check(
    data: Annotated[str, typer.Argument(help="As `stalwart list data` spells it.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="A page with pictures to write, such as data.html.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only so many images of each split, drawn by a fixed seed.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read every image with its labels: what cannot be read, odd labels, copies between splits, balance of classes."""
    from stalwart.run.check_data import check_data

    play(iter(check_data(data, out=out, limit=limit)), as_json=as_json, quiet=quiet)

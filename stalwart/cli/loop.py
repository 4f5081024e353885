"""`stalwart drive fit` and `stalwart drive attack`: a camera stack, and what attacks on its sensors do to its
drives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stalwart.cli.listen import play
from stalwart.cli.work import Json, Quiet

_ATTACK = "poster()"

Driver = Annotated[Path, typer.Option("--driver", help="A run of `drive fit` or `drive train`.", show_default=False)]
Attacks = Annotated[
    list[str] | None,
    typer.Option("--attack", help=f"As `stalwart list tampers` spells it, repeatable. Default: {_ATTACK}."),
]
Suite = Annotated[
    list[str] | None, typer.Option("--suite", help="Scenarios with somebody ahead, as spelled, repeatable.")
]
Guards = Annotated[
    list[str] | None,
    typer.Option(
        "--guard",
        help="Of a camera stack: consistency, physics, input; of a learned driver: apart, physics. Repeatable.",
    ),
]
Seconds = Annotated[float, typer.Option("--seconds", help="Of each drive at most.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the drives and of everything drawn.")]


def fit(
    out: Annotated[Path, typer.Option("--out", help="A new run folder.", show_default=False)],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the pictures.")] = 4,
    hardened: Annotated[float, typer.Option("--hardened", help="Harden within this L∞ radius; 0: not.")] = 0.0,
    posters: Annotated[bool, typer.Option("--posters", help="Harden against prints on the car ahead.")] = False,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", help="Scenarios to learn from, as spelled, repeatable.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a small camera stack's perception on drives of the train split."""
    from stalwart.run.drive_fit import SUITE, Lessons, drive_fit

    lessons = Lessons(epochs=epochs, hardened=hardened, posters=posters, seed=seed)
    play(iter(drive_fit(out, lessons, tuple(suite) if suite else SUITE)), as_json=as_json, quiet=quiet)


def attack(
    driver: Driver,
    attack: Attacks = None,
    suite: Suite = None,
    trust: Annotated[str, typer.Option("--trust", help="Whose gap is kept: camera, lidar or both.")] = "camera",
    guard: Guards = None,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", help="Share of clean drives in which a guard may be in doubt.")
    ] = 0.05,
    seconds: Seconds = 30.0,
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file for all figures.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attack a driver's sensors in the loop: collisions per km, beside clean drives and controls on the same seeds."""
    from stalwart.run.drive_attack import SUITE, drive_attack

    events = drive_attack(
        driver, attack or [_ATTACK], suite or SUITE, trust=trust, guards=guard or (), false_alarms=false_alarms,
        seconds=seconds, seed=seed, out=out,
    )  # fmt: skip
    play(iter(events), as_json=as_json, quiet=quiet)


def report(
    driver: Driver,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("driver.html"),
    attack: Attacks = None,
    suite: Suite = None,
    guard: Guards = None,
    seconds: Seconds = 30.0,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one page on a driver: scores beside baselines, attacks with controls, sensors, maps of failures, clips."""
    from stalwart.run.drive_attack import SUITE
    from stalwart.run.drive_report import drive_report

    events = drive_report(
        driver, out, attack or [_ATTACK], suite or SUITE, guards=guard or (), seconds=seconds, seed=seed
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def add(app: typer.Typer) -> None:
    """Put the commands into `stalwart drive`."""
    app.command(
        "fit",
        epilog="Examples:\n\nstalwart drive fit --out runs/sight\n\n"
        "stalwart drive fit --out runs/hard --hardened 0.0157",
    )(fit)
    app.command(
        "attack",
        epilog='Examples:\n\nstalwart drive attack --driver runs/sight --attack "poster()" --out poster.json\n\n'
        'stalwart drive attack --driver runs/sight --attack "camera(threat=linf(4/255))" --attack "fault()"\n\n'
        'stalwart drive attack --driver runs/sight --trust lidar --guard physics --attack "spoof()"',
    )(attack)
    app.command(
        "report",
        epilog="Examples:\n\nstalwart drive report --driver runs/sight --out sight.html\n\n"
        'stalwart drive report --driver runs/sight --attack "camera()" --attack "poster(where=\'road\')"',
    )(report)

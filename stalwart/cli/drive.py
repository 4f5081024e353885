"""`stalwart drive`: run, watch, record and measure the driving world, and export its frames."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stalwart.cli.console import out as console
from stalwart.cli.listen import play
from stalwart.cli.work import Json, Quiet
from stalwart.core.errors import InputError

if TYPE_CHECKING:
    from stalwart.drive.recording import Setting

app = typer.Typer(
    name="drive",
    help="Drive through the driving world: figures, a live view, films, labelled frames.",
    epilog="Examples:\n\nstalwart drive run --driver expert\n\nstalwart drive watch",
    no_args_is_help=True,
)

Roads = Annotated[str, typer.Option("--roads", help="As `stalwart list roads` spells them.")]
Number = Annotated[int, typer.Option("--worlds", min=1, help="Worlds side by side.")]
Agents = Annotated[int, typer.Option("--agents", min=1, help="Bodies in each world, the driver and walkers included.")]
Walkers = Annotated[int, typer.Option("--walkers", min=0, help="How many of them walk.")]
Traffic = Annotated[str, typer.Option("--traffic", help="mixed, timid, normal or aggressive.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Another seed gives other traffic.")]
Driver = Annotated[
    str,
    typer.Option(
        "--driver",
        help="lane, brake, expert, constant(accel_mps2=1.0, steer_rad=0.02), the run folder of a policy taught to "
        "drive, or guard('expert').",
    ),
]
Seconds = Annotated[float, typer.Option("--seconds", help="How long, in the world's own time.")]
Show = Annotated[int, typer.Option("--show", min=0, help="Which world is shown.")]
Style = Annotated[str, typer.Option("--style", help="sun, cloud, dusk, night, fog, rain or snow.")]
Height = Annotated[int, typer.Option("--height", help="Of the picture, in pixels.")]
Every = Annotated[int, typer.Option("--every", help="A picture each so many steps of a tenth of a second.")]

_ROADS, _DRIVER = "town(seed=3)", "expert"


@app.callback()
def _room() -> None:
    """Drive through the driving world."""


def _setting(roads: str, worlds: int, agents: int, walkers: int, traffic: str, seed: int) -> Setting:
    from stalwart.drive.recording import Setting

    return Setting(roads, worlds, agents, walkers, traffic, seed)


@app.command(
    "run",
    epilog="Examples:\n\nstalwart drive run --roads \"crossroads(control='stop')\" --worlds 256 --seconds 120\n\n"
    'stalwart drive run --driver "constant(accel_mps2=0.5)" --json',
)
def run(
    roads: Roads = _ROADS,
    driver: Driver = _DRIVER,
    worlds: Number = 64,
    seconds: Seconds = 60.0,
    agents: Agents = 24,
    walkers: Walkers = 4,
    traffic: Traffic = "mixed",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Drive a baseline or a constant policy over many worlds, and print what came of it."""
    from stalwart.run.drive import drive

    events = drive(_setting(roads, worlds, agents, walkers, traffic, seed), driver, seconds)
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command(
    "score",
    epilog="Examples:\n\nstalwart drive score --driver expert --suite critical\n\n"
    'stalwart drive score --driver brake --suite "cut_in()" --out cut_in.json\n\n'
    "stalwart drive score --driver runs/driver --beside brake --beside expert --suite free",
)
def score(
    driver: Driver = _DRIVER,
    suite: Annotated[
        str, typer.Option("--suite", help="quick, free, critical, eu_cut_in, or one of `stalwart list scenarios`.")
    ] = "quick",
    split: Annotated[str, typer.Option("--split", help="Whose maps: test or train.")] = "test",
    seed: Seed = 0,
    style: Annotated[
        str | None, typer.Option("--style", help="Weather and light of all scenarios, for drivers with cameras.")
    ] = None,
    surface: Annotated[
        str | None, typer.Option("--surface", help="dry, wet, snow or ice in all scenarios, for the friction.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", help="Another driver on the same drives, compared drive by drive. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file for all figures, drives and failures.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a driver in a suite of scenarios: CARLA's and nuPlan's scores, collisions, red lights, failures."""
    from stalwart.run.drive_score import drive_score

    events = drive_score(driver, suite, split, seed, out, style, surface, beside or ())
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command(
    "record",
    epilog="Examples:\n\nstalwart drive record drive.gif --style rain --seconds 15\n\n"
    "stalwart drive record drive.npz --worlds 64 --seconds 60\n\n"
    "stalwart drive record drive.mp4 --from drive.npz --show 5",
)
def record(
    out: Annotated[
        Path | None,
        typer.Argument(help="A .gif or .mp4 to show one world, or an .npz log of all of them.", show_default=False),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--from", help="Replay this log, and see that every step comes out the same.")
    ] = None,
    roads: Roads = _ROADS,
    driver: Driver = _DRIVER,
    worlds: Number = 1,
    seconds: Seconds = 20.0,
    show: Show = 0,
    style: Style = "sun",
    height: Height = 240,
    every: Every = 2,
    agents: Agents = 24,
    walkers: Walkers = 4,
    traffic: Traffic = "mixed",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Record a drive as a film or as a log, or replay a log to the same bits."""
    from stalwart.run import drive_record

    if log is not None:
        events = drive_record.replay(log, out, show=show, style=style, height=height, every=every)
    elif out is None:
        raise InputError("record needs the file to write, such as drive.gif, or --from LOG.")
    else:
        setting = _setting(roads, worlds, agents, walkers, traffic, seed)
        events = drive_record.record(
            setting, out, driver, seconds, show=show, style=style, height=height, every=every
        )  # fmt: skip
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command(
    "watch", epilog="Examples:\n\nstalwart drive watch --style dusk\n\nstalwart drive watch --driver lane --port 8700"
)
def watch(
    roads: Roads = _ROADS,
    driver: Driver = _DRIVER,
    style: Style = "sun",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: one that is free.")] = 0,
    seconds: Annotated[float, typer.Option("--seconds", help="Stop after so long; 0: at Ctrl-C.")] = 0.0,
    speed: Annotated[float, typer.Option("--speed", min=0.1, max=100, help="How much faster than real time.")] = 1.0,
    height: Height = 360,
    agents: Agents = 24,
    walkers: Walkers = 4,
    traffic: Traffic = "mixed",
    seed: Seed = 0,
) -> None:
    """Watch a drive in a browser page on this machine: camera and the world from above. Ctrl-C ends it."""
    from stalwart.cli.live import Live
    from stalwart.run.drive_record import watched

    if not 0 <= seconds < 1e7:
        raise InputError(f"seconds must be 0 or more, and below 10,000,000. Got {seconds!r}.")
    pictures = watched(_setting(roads, 1, agents, walkers, traffic, seed), driver, style, height)
    with Live(port) as live, contextlib.suppress(KeyboardInterrupt):
        console().print(f"{live.url}  (Ctrl-C ends it; the first picture takes a minute where kernels compile)")
        begun, told = time.monotonic(), 0.0
        for picture in pictures:
            live.show(picture)
            told += 0.1 / speed
            if seconds and told * speed >= seconds:
                break
            time.sleep(max(0.0, begun + told - time.monotonic()))
    console().print("stopped")


@app.command(
    "train",
    epilog="Examples:\n\nstalwart drive train --out runs/student\n\n"
    "stalwart drive train --out runs/student --steps 500000 --chapters 20 --resume\n\n"
    "stalwart drive train --start runs/student --model 'driver(lookout=True)' --only lookout --out runs/seeing",
)
def train(
    out: Annotated[Path, typer.Option("--out", help="The run folder.", show_default=False)],
    model: Annotated[str, typer.Option("--model", help="A driver, as `stalwart list models` spells it.")] = "driver()",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Over all worlds; each is learned from once.")] = 120_000,
    worlds: Annotated[int, typer.Option("--worlds", min=1, help="Of each family of roads, side by side.")] = 6,
    chapters: Annotated[int, typer.Option("--chapters", min=1, help="Parts; each has maps of its own.")] = 10,
    family: Annotated[list[str] | None, typer.Option("--family", help="Of roads; may be repeated.")] = None,
    start: Annotated[str, typer.Option("--start", help="A driver's run whose weights it begins with.")] = "",
    only: Annotated[list[str] | None, typer.Option("--only", help="A part that learns; may be repeated.")] = None,
    lr: Annotated[float, typer.Option("--lr", help="Greatest learning rate.")] = 2e-3,
    seed: Seed = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with this run.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a driver to see and to drive through camera and LiDAR, by the rule-based expert."""
    from stalwart.run.drive_train import Teaching, drive_train

    how = Teaching(steps=steps, worlds=worlds, chapters=chapters, start=start, lr=lr, seed=seed, device=device)
    how = replace(how, families=tuple(family)) if family else how
    how = replace(how, only=tuple(only)) if only else how
    play(iter(drive_train(model, settings=how, out=out, resume=resume)), as_json=as_json, quiet=quiet)


@app.command(
    "perceive",
    epilog="Examples:\n\nstalwart drive perceive runs/student\n\n"
    "stalwart drive perceive runs/student --sensors camera --style fog --json",
)
def perceive(
    run: Annotated[str, typer.Argument(help="A driver's run folder.", show_default=False)],
    style: Annotated[list[str] | None, typer.Option("--style", help="A weather; may be repeated.")] = None,
    split: Annotated[str, typer.Option("--split", help="Whose maps: test, val or train.")] = "test",
    sensors: Annotated[str, typer.Option("--sensors", help="both, camera or lidar.")] = "both",
    worlds: Annotated[int, typer.Option("--worlds", min=1, help="Of each family of roads, side by side.")] = 4,
    steps: Annotated[int, typer.Option("--steps", min=5, help="Of a tenth of a second, in each weather.")] = 100,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what a driver perceives while the expert drives: ground, agents, velocities, signals, the route."""
    from stalwart.run.drive_perceive import drive_perceive

    styles = {"styles": tuple(style)} if style else {}
    events = drive_perceive(run, split=split, worlds=worlds, steps=steps, seed=seed, sensors=sensors, **styles)
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command("bench", epilog="Examples:\n\nstalwart drive bench\n\nstalwart drive bench --worlds 1024 --json")
def bench(
    roads: Roads = "town(seed=3, blocks=2)",
    worlds: Number = 256,
    agents: Agents = 24,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each part is measured.")] = 2.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure this machine: agent steps, camera frames and LiDAR scans in a second."""
    from stalwart.run.drive_bench import drive_bench

    events = drive_bench(_setting(roads, worlds, agents, min(4, agents - 1), "mixed", 0), seconds)
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command(
    "export",
    epilog="Examples:\n\nstalwart drive export --to kitti --out street/ --frames 200\n\n"
    "stalwart drive export --to coco --out night/ --frames 1000 --style night --style rain\n\n"
    'stalwart drive export --to camvid --out masks/ --frames 500 --family "town(blocks=2)"',
)
def export(
    to: Annotated[str, typer.Option("--to", help="coco, camvid or kitti.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="A new folder.", show_default=False)],
    frames: Annotated[int, typer.Option("--frames", help="In all; one in five is for validation.")] = 100,
    size: Annotated[str, typer.Option("--size", help="HEIGHTxWIDTH in pixels; by itself the layout's own.")] = "",
    family: Annotated[list[str] | None, typer.Option("--family", help="Roads without a seed; may be repeated.")] = None,
    style: Annotated[list[str] | None, typer.Option("--style", help="A weather; may be repeated.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write labelled frames of the driving world in a layout that other tools read."""
    from stalwart.run.drive_export import export_frames

    events = export_frames(to, out, frames, size=size, families=tuple(family or ()), styles=tuple(style or ()),
                           seed=seed)  # fmt: skip
    play(iter(events), as_json=as_json, quiet=quiet)

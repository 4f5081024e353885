"""`stalwart train`. Its options are the fields of `Training`: their notes and defaults are read from there."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from stalwart.cli.listen import play
from stalwart.cli.shelf import settings
from stalwart.core.errors import InputError, RunError, StalwartError

_WHAT, _HOW, _WHERE, _SHOWING = "What is trained", "How it is trained", "Where", "What is shown"
_DATA, _MODEL = "digits()", "convnet()"


def _setting(name: str, *flags: str, panel: str = _HOW) -> Any:
    """The option for one field of `Training`, with that field's note and default."""
    default, note = settings("Training").get(name, ("", ""))
    return _option(note, default, *flags, panel=panel)


def _option(note: str, default: str, *flags: str, panel: str) -> Any:
    """An option that tells its default but is None itself, so that the default stands in one place."""
    default = default.strip("'")
    obvious = default in ("", "None", "()", "False") or "0 for" in note
    told = "" if obvious else f" Default: {default}."
    return typer.Option(*flags, help=escape(note + told) or None, show_default=False, rich_help_panel=panel)


def train(
    data: Annotated[str | None, _option("As `stalwart list data` spells it.", _DATA, "--data", panel=_WHAT)] = None,
    model: Annotated[
        str | None,
        _option(
            "As `stalwart list models` spells it, or any classifier of torchvision or timm by its name.",
            _MODEL,
            "--model",
            panel=_WHAT,
        ),
    ] = None,
    task: Annotated[str | None, _option("What is learned.", "classification()", "--task", panel=_WHAT)] = None,
    objective: Annotated[
        str | None,
        _option(
            "What training minimises, such as adversarial(attack=pgd(steps=7), threat=linf(8/255)).",
            "clean()",
            "--objective",
            panel=_WHAT,
        ),
    ] = None,
    epochs: Annotated[int | None, _setting("epochs", "--epochs")] = None,
    batch: Annotated[int | None, _setting("batch", "--batch")] = None,
    optimizer: Annotated[str | None, _setting("optimizer", "--optimizer")] = None,
    schedule: Annotated[str | None, _setting("schedule", "--schedule")] = None,
    augments: Annotated[list[str] | None, _setting("augments", "--augment")] = None,
    radius: Annotated[str | None, _setting("radius", "--radius")] = None,
    extra: Annotated[str | None, _setting("extra", "--extra", panel=_WHAT)] = None,
    extra_share: Annotated[float | None, _setting("extra_share", "--extra-share", panel=_WHAT)] = None,
    start: Annotated[str | None, _setting("start", "--start", panel=_WHAT)] = None,
    seed: Annotated[int | None, _setting("seed", "--seed")] = None,
    val: Annotated[float | None, _setting("val", "--val")] = None,
    size: Annotated[int | None, _setting("size", "--size")] = None,
    ema: Annotated[float | None, _setting("ema", "--ema")] = None,
    patience: Annotated[int | None, _setting("patience", "--patience")] = None,
    accumulate: Annotated[int | None, _setting("accumulate", "--accumulate")] = None,
    clip: Annotated[float | None, _setting("clip", "--clip")] = None,
    precision: Annotated[str | None, _setting("precision", "--precision")] = None,
    device: Annotated[str | None, _setting("device", "--device", panel=_WHERE)] = None,
    workers: Annotated[int | None, _setting("workers", "--workers", panel=_WHERE)] = None,
    cache: Annotated[str | None, _setting("cache", "--cache", panel=_WHERE)] = None,
    skip_bad: Annotated[bool | None, _setting("skip_bad", "--skip-bad/--no-skip-bad", panel=_WHAT)] = None,
    save_every_s: Annotated[float | None, _setting("save_every_s", "--save-every-s", panel=_WHERE)] = None,
    max_steps: Annotated[int | None, _setting("max_steps", "--max-steps")] = None,
    to: Annotated[Path | None, _option("The run folder.", "runs/MODEL-DATA-TIME", "--out", panel=_WHERE)] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Go on with the run in this folder, as it was started.", rich_help_panel=_WHERE),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line an event, nothing else.", rich_help_panel=_SHOWING)
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard.", rich_help_panel=_SHOWING)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, only the end.", rich_help_panel=_SHOWING)
    ] = False,
) -> None:
    """Train a model and keep it, with everything that made it, in a run folder."""
    what: dict[str, Any] = {"data": data, "model": model, "task": task, "objective": objective}
    how: dict[str, Any] = {
        "epochs": epochs,
        "batch": batch,
        "optimizer": optimizer,
        "schedule": schedule,
        "augments": tuple(augments) if augments else None,
        "radius": radius,
        "extra": extra,
        "extra_share": extra_share,
        "start": start,
        "seed": seed,
        "val": val,
        "size": size,
        "ema": ema,
        "patience": patience,
        "accumulate": accumulate,
        "clip": clip,
        "precision": precision,
        "device": device,
        "workers": workers,
        "cache": cache,
        "skip_bad": skip_bad,
        "save_every_s": save_every_s,
        "max_steps": max_steps,
    }
    what = {name: value for name, value in what.items() if value is not None}
    how = {name: value for name, value in how.items() if value is not None}
    if resume is not None:
        if to is not None and to != resume:
            raise InputError(f"--resume {resume} goes on in that folder: leave out --out.")
        (what, how), to = _as_started(resume, what, how), resume
    data, model = what.pop("data", _DATA), what.pop("model", _MODEL)
    to = to or run_name(model, data)
    # Only now PyTorch.
    from stalwart.run.train import Training
    from stalwart.run.train import train as runner

    events = runner(data, model, **what, settings=Training(**how), out=to, resume=resume is not None)
    try:
        play(iter(events), as_json=as_json, quiet=quiet, tensorboard=to / "tensorboard" if tensorboard else None)
    except KeyboardInterrupt:
        if (to / "last").is_dir():
            raise InterruptedRunError(
                f"interrupted. Go on with: stalwart train --resume {shlex.quote(str(to))}"
            ) from None
        raise


class InterruptedRunError(StalwartError):
    """Ctrl-C in a run that can go on later."""


def _as_started(run: Path, what: dict[str, Any], how: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run was started with; options given now stand above it, and the runner says which may not change."""
    from stalwart.store.folder import RunFolder

    config = RunFolder.open(run).config
    spelling, settings_then = config.get("spelling"), config.get("settings")
    if not isinstance(spelling, dict) or not isinstance(settings_then, dict):
        raise RunError(f"{run / 'config.json'} is not the configuration of a run: expected 'spelling' and 'settings'.")
    what = {name: spelling[name] for name in ("data", "model", "task", "objective") if name in spelling} | what
    how = {**spelling, **settings_then, **how}
    return what, {name: value for name, value in how.items() if name in settings("Training")}


def run_name(model: str, data: str) -> Path:
    """runs/MODEL-DATA-TIME."""
    names = [re.sub(r"[^\w.-]", "", text.partition("(")[0]) for text in (model, data)]
    return Path("runs") / "-".join([*filter(None, names), time.strftime("%Y%m%d-%H%M%S")])

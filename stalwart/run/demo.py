"""The whole line at once, on real handwritten digits: train, attack, harden, attack again, report.

It is the one runner that runs others, and it uses nothing but what a user can call.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from stalwart.core.contracts import Event
from stalwart.core.errors import RunError
from stalwart.run.attack import attack_run
from stalwart.run.evaluate import evaluate
from stalwart.run.report import report
from stalwart.run.train import Training, train
from stalwart.store import atomic
from stalwart.store.folder import RunFolder

DATA, MODEL = "digits()", "convnet()"
# Eight by eight pixels carry few details, so a change must be larger than on photographs before a person sees it.
THREATS = ("linf(0.2)", "l2(1.0)")
ATTACK = "pgd(steps=20)"
OBJECTIVES = {"plain": "clean()", "hardened": "adversarial(attack=pgd(steps=7), threat=linf(0.2))"}
EPOCHS = 12
AUDITED = 60
"""Images that each figure under attack is audited on."""

MARK = "demo.json"
"""A folder that holds this file is a demo's, and the next demo may put itself in its place."""


def demo(out: str | Path = "runs/demo", *, seed: int = 0) -> Iterator[Event]:
    """Train a plain and a hardened net, measure and attack both, and report.

    Args:
        out: folder for the runs `plain` and `hardened` and for `report.html`; an older demo there is redone.
        seed: of everything random.

    Yields:
        The events of all runners, with a note before each.

    Raises:
        RunError: `out` holds something that no demo made, or a demo is at work there.
    """
    out = Path(out)
    runs = {name: out / name for name in OBJECTIVES}
    _clear(out, list(runs.values()))
    atomic.write_json(out / MARK, {"format": 1, "seed": seed})
    settings = Training(epochs=EPOCHS, batch=64, seed=seed)
    for name, objective in OBJECTIVES.items():
        yield Event("note", {"message": f"training the {name} net"})
        yield from _of(name, train(DATA, MODEL, objective=objective, settings=settings, out=runs[name]))
    for name, run in runs.items():
        yield Event("note", {"message": f"measuring and attacking the {name} net"})
        yield from _of(name, evaluate(run))
        yield from _of(name, attack_run(run, [ATTACK], THREATS, audit=AUDITED, seed=seed))
    yield Event("saved", {"path": str(report(list(runs.values()), out / "report.html"))})


def _of(name: str, events: Iterator[Event]) -> Iterator[Event]:
    """A runner's events; results say whose they are, and where each part was saved is left out."""
    for event in events:
        if event.kind == "result":
            yield Event("result", {"run": name, **event.values})
        elif event.kind != "saved":
            yield event


def _clear(out: Path, runs: list[Path]) -> None:
    """Take away an older demo's runs, and nothing else."""
    if not out.exists():
        return
    if not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} holds something that no demo made. Choose another --out.")
    for run in runs:
        if (run / "config.json").is_file():
            with RunFolder.open(run).lock():
                shutil.rmtree(run)
        elif run.exists():
            shutil.rmtree(run)

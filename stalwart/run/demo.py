"""The whole line at once: train, attack, harden, attack again, report; on real handwritten digits, or on drawn shapes.

It is the one runner that runs others, and it uses nothing but what a user can call.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stalwart.core import catalog
from stalwart.core.contracts import Event
from stalwart.core.errors import InputError, RunError, nearest
from stalwart.run.attack import attack_run
from stalwart.run.evaluate import evaluate
from stalwart.run.report import report
from stalwart.run.train import Training, train
from stalwart.store import atomic
from stalwart.store.folder import RunFolder


@dataclass(frozen=True)
class Plan:
    """What one demo does; everything as a user spells it."""

    data: str
    model: str
    task: str
    threats: tuple[str, ...]
    attack: str
    hardening: str
    """The objective of the hardened net."""
    epochs: int
    batch: int
    optimizer: str
    radii: tuple[float, ...]
    """Shares of each threat's ε."""
    audited: int
    """Images that each figure under attack is audited on; 0: none."""
    schedule: str = "cosine()"
    augments: tuple[str, ...] = ()

    @property
    def objectives(self) -> dict[str, str]:
        return {"plain": "clean()", "hardened": self.hardening}


def _dense(task: str, data: str, epochs: int = 10, stride: int = 2) -> Plan:
    """Small pictures and few epochs: what counts is the line and the two nets side by side, on one core of a laptop."""
    return Plan(
        data=data,
        model=f"dense(width=12, neck=24, depth=1, stride={stride})",
        task=task,
        threats=("linf(8/255)",),
        attack="pgd(steps=10)",
        hardening="adversarial(attack=pgd(steps=2, step=0.7), threat=linf(8/255))",
        epochs=epochs,
        batch=8,
        optimizer="muon(lr=0.05, bias_lr=0.05, head_lr=0.05)",
        radii=(0.25, 0.5, 1.0),
        audited=0,
        schedule="triangle(peak=0.1)",
        augments=("flip()",),
    )


PLANS = {
    "classification": Plan(
        data="digits()",
        model="convnet()",
        task="classification()",
        # Eight by eight pixels carry few details, so a change must be larger than on photographs before a person sees
        # it.
        threats=("linf(0.2)", "l2(1.0)"),
        attack="pgd(steps=20)",
        hardening="adversarial(attack=pgd(steps=7), threat=linf(0.2))",
        epochs=12,
        batch=64,
        optimizer="adamw()",
        radii=(0.25, 0.5, 0.75, 1.0),
        audited=60,
    ),
    "detection": _dense("detection()", "shapes(train=320, test=40, size=48, most=2)"),
    "semantic": _dense("semantic()", "shapes('semantic', train=320, test=40, size=48, most=2)"),
    # Masks are drawn at twice the fineness of the map, so that a map of half the size is enough for them.
    "instance": _dense("instance()", "shapes(train=320, test=40, size=48, most=2)", epochs=8, stride=4),
}

MARK = "demo.json"
"""A folder that holds this file is a demo's, and the next demo may put itself in its place."""


def demo(out: str | Path = "runs/demo", *, task: str = "classification", seed: int = 0) -> Iterator[Event]:
    """Train a plain and a hardened net, measure and attack both, and report.

    Args:
        task: 'classification', 'detection', 'semantic' or 'instance'.
        out: folder for the runs `plain` and `hardened` and for `report.html`; an older demo there is redone.
        seed: of everything random.

    Yields:
        The events of all runners, with a note before each.

    Raises:
        InputError: there is no demo of that task.
        RunError: `out` holds something that no demo made, or a demo is at work there.
    """
    if task not in PLANS:
        raise InputError(f"there is no demo of the task {task!r}. {nearest(task, PLANS)}")
    plan, out = PLANS[task], Path(out)
    runs = {name: out / name for name in plan.objectives}
    _clear(out, list(runs.values()))
    atomic.write_json(out / MARK, {"format": 1, "seed": seed})
    settings = Training(
        epochs=plan.epochs,
        batch=plan.batch,
        optimizer=catalog.make(plan.optimizer, "optimizers"),
        schedule=catalog.make(plan.schedule, "schedules"),
        augments=tuple(catalog.make(name, "augments") for name in plan.augments),
        seed=seed,
    )
    for name, objective in plan.objectives.items():
        yield Event("note", {"message": f"training the {name} net"})
        yield from _of(
            name, train(plan.data, plan.model, task=plan.task, objective=objective, settings=settings, out=runs[name])
        )
    for name, run in runs.items():
        yield Event("note", {"message": f"measuring and attacking the {name} net"})
        yield from _of(name, evaluate(run))
        yield from _of(
            name,
            attack_run(
                run,
                [plan.attack],
                plan.threats,
                radii=plan.radii,
                audit=plan.audited,
                seed=seed,
            ),
        )
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

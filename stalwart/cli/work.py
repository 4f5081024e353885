"""The commands that use a trained model (evaluate, predict, attack, report), and the demo.

Each hands a runner's events to the screen.

Runners are imported inside the commands, because they import PyTorch and `stalwart --help` should not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stalwart.cli.listen import play

if TYPE_CHECKING:
    from stalwart.core.contracts import Event

_SHOWING = "What is shown"
_ATTACK, _THREAT = "pgd(steps=20)", "linf(8/255)"

Run = Annotated[Path, typer.Argument(help="A run folder, such as runs/a.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON line an event, nothing else.", rich_help_panel=_SHOWING)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the end.", rich_help_panel=_SHOWING)]
Data = Annotated[
    str | None,
    typer.Option("--data", help="Another data set than the one trained on, as `stalwart list data` spells them."),
]
Split = Annotated[str, typer.Option("--split", help="Which split: test, val or train.")]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="Which of the run's models: best or last.")]
Shield = Annotated[
    str | None,
    typer.Option("--shield", help="Put a shield around the model, as `stalwart list shields` spells them."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many images, drawn by a fixed seed.")]
Sample = Annotated[int, typer.Option("--limit", min=0, help="Only so many images, drawn by a fixed seed; 0 for all.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that read image files; 0: this one.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Pass over files that cannot be read, and count them.")]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="Images at a time; results do not depend on it.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]


def evaluate(
    run: Run,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    shield: Shield = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average over flips and shifts of each image.")] = False,
    limit: Limit = None,
    batch: BatchSize = 256,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a trained model: accuracy, calibration, each class, who is mistaken for whom."""
    from stalwart.run.evaluate import evaluate as runner

    events = runner(
        run,
        data=data,
        split=split,
        checkpoint=checkpoint,
        shield=shield,
        tta=tta,
        limit=limit,
        batch=batch,
        device=device,
        workers=workers,
        skip_bad=skip_bad,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def predict(
    run: Run,
    inputs: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.", show_default=False)],
    checkpoint: Checkpoint = "best",
    shield: Shield = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="Flag suspicious images, with the detector that `stalwart detect` fitted.")
    ] = False,
    batch: BatchSize = 64,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="A folder for pictures with boxes, masks or maps on them.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line an image, nothing else.", rich_help_panel=_SHOWING)
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Say what is on images: one line each, with the model's confidence; boxes and masks in the file's own pixels."""
    from stalwart.run.predict import predict as runner

    events = runner(
        run,
        inputs,
        checkpoint=checkpoint,
        shield=shield,
        guard=guard,
        batch=batch,
        device=device,
        skip_bad=skip_bad,
        draw=draw,
    )
    play(iter(events), as_json=as_json, quiet=quiet, json_kinds=("prediction",))


def attack(
    run: Run,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help=f"As `stalwart list attacks` spells them, repeatable. Default: {_ATTACK}."),
    ] = None,
    threats: Annotated[
        list[str] | None,
        typer.Option("--threat", help=f"As `stalwart list threats` spells them, repeatable. Default: {_THREAT}."),
    ] = None,
    goal: Annotated[
        str, typer.Option("--goal", help="The loss to raise: cross_entropy, margin or dlr. Empty: the task's usual.")
    ] = "",
    toward: Annotated[
        str | None,
        typer.Option("--toward", help="A class, by name or number, that everything is to be taken for."),
    ] = None,
    shield: Shield = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of random starts.")] = 0,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    limit: Sample = 1000,
    audit: Annotated[
        int, typer.Option("--audit", min=0, help="Audit each threat's lowest figure on so many images; 0: do not.")
    ] = 100,
    batch: BatchSize = 128,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    precision: Annotated[
        str, typer.Option("--precision", help="Of the attack's own passes: fp32, bf16 or auto. float32 judges.")
    ] = "fp32",
    compile: Annotated[
        bool, typer.Option("--compile", help="Climb a compiled form of the model; the model itself judges.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew; else an evaluation that was killed goes on where it was.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attack a trained model: each attack within each threat, and accuracy against the size of the change."""
    from stalwart.run.attack import attack_run as runner

    events = runner(
        run,
        attacks or [_ATTACK],
        threats or [_THREAT],
        goal=goal,
        toward=toward,
        shield=shield,
        seed=seed,
        data=data,
        split=split,
        checkpoint=checkpoint,
        limit=limit or None,
        audit=audit,
        batch=batch,
        device=device,
        workers=workers,
        skip_bad=skip_bad,
        precision=precision,
        compile=compile,
        fresh=fresh,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def audit(
    run: Run,
    attack: Annotated[str, typer.Option("--attack", help="The attack whose figure is audited.")] = _ATTACK,
    threat: Annotated[str, typer.Option("--threat", help="The threat that it stays within.")] = _THREAT,
    goal: Annotated[
        str,
        typer.Option("--goal", help="The loss that it raises: cross_entropy, margin or dlr. Empty: the task's usual."),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of random starts.")] = 0,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many images, drawn by a fixed seed.")] = 100,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say how far a robust accuracy can be trusted: look at the model, and attack again with other tools."""
    from stalwart.run.audit import audit_run as runner

    events = runner(
        run,
        attack,
        threat,
        goal=goal,
        seed=seed,
        data=data,
        split=split,
        checkpoint=checkpoint,
        limit=limit,
        device=device,
        skip_bad=skip_bad,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def certify(
    run: Run,
    shield: Annotated[
        str, typer.Option("--shield", help="A shield that can prove something: smoothing.")
    ] = "smoothing(sigma=0.25)",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the noise.")] = 0,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    limit: Sample = 100,
    batch: BatchSize = 32,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove what a smoothed model withstands: certified accuracy against the L2 radius of the change."""
    from stalwart.run.certify import certify as runner

    events = runner(
        run,
        shield,
        data=data,
        split=split,
        checkpoint=checkpoint,
        limit=limit or None,
        seed=seed,
        batch=batch,
        device=device,
        workers=workers,
        skip_bad=skip_bad,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def corruptions(
    run: Run,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="A corruption such as fog, repeatable; 'all' for the four extra ones too."),
    ] = None,
    severities: Annotated[
        list[int] | None, typer.Option("--severity", min=1, max=5, help="1 to 5, repeatable. Default: all five.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Another run, which the mean corruption error is relative to.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of what chance decides.")] = 0,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    limit: Sample = 1000,
    batch: BatchSize = 128,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a trained model under noise, blur, weather and compression: the corruptions of ImageNet-C, and mCE."""
    from stalwart.run.corruptions import corruptions as runner

    events = runner(
        run,
        tuple(kinds or ()),
        tuple(severities or (1, 2, 3, 4, 5)),
        baseline=baseline,
        data=data,
        split=split,
        checkpoint=checkpoint,
        limit=limit or None,
        seed=seed,
        batch=batch,
        device=device,
        workers=workers,
        skip_bad=skip_bad,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def transfer(
    runs: Annotated[list[Path], typer.Argument(help="Two run folders or more.", show_default=False)],
    attack: Annotated[
        str, typer.Option("--attack", help="The attack that each model's images are made with.")
    ] = _ATTACK,
    threat: Annotated[str, typer.Option("--threat", help="The threat that it stays within.")] = _THREAT,
    goal: Annotated[
        str, typer.Option("--goal", help="The loss to raise: cross_entropy, margin or dlr. Empty: the task's usual.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of random starts.")] = 0,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    limit: Sample = 1000,
    batch: BatchSize = 128,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attack each model and ask all of them: which images made against one fool another."""
    from stalwart.run.transfer import transfers as runner

    events = runner(
        runs,
        attack,
        threat,
        goal=goal,
        seed=seed,
        data=data,
        split=split,
        checkpoint=checkpoint,
        limit=limit or None,
        batch=batch,
        device=device,
        workers=workers,
        skip_bad=skip_bad,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def detect(
    run: Run,
    detector: Annotated[
        str, typer.Option("--detector", help="As `stalwart list detectors` spells them.")
    ] = "mahalanobis()",
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help=f"An attack that it is judged on, repeatable. Default: {_ATTACK}."),
    ] = None,
    threat: Annotated[str, typer.Option("--threat", help="The threat that all attacks stay within.")] = _THREAT,
    fit_attack: Annotated[
        str, typer.Option("--fit-attack", help="The one attack that a detector which learns from attacks is shown.")
    ] = "fgsm()",
    ood: Annotated[
        str | None,
        typer.Option("--ood", help="A data set out of the distribution. Default: inverted and shuffled test images."),
    ] = None,
    joint: Annotated[
        str | None,
        typer.Option("--joint", help="What climbs model and detector together: apgd(...) or pgd(...)."),
    ] = None,
    evade: Annotated[
        int, typer.Option("--evade", min=0, help="Attack model and detector together on so many images; 0: do not.")
    ] = 100,
    goal: Annotated[
        str, typer.Option("--goal", help="The loss to raise: cross_entropy, margin or dlr. Empty: the task's usual.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the division and of random starts.")] = 0,
    data: Data = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    limit: Sample = 1000,
    known: Annotated[int, typer.Option("--known", min=1, help="Training images to fit to, at most.")] = 2000,
    batch: BatchSize = 128,
    device: Device = "auto",
    workers: Workers = 0,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a detector of adversarial input, judge it on unseen attacks, and attack model and detector together."""
    from stalwart.run.detect import detect as runner

    events = runner(
        run,
        detector,
        attacks or [_ATTACK],
        threat,
        fit_attack=fit_attack,
        ood=ood,
        joint=joint,
        evade=evade,
        goal=goal,
        seed=seed,
        data=data,
        split=split,
        checkpoint=checkpoint,
        limit=limit or None,
        known=known,
        batch=batch,
        device=device,
        workers=workers,
        skip_bad=skip_bad,
    )
    play(iter(events), as_json=as_json, quiet=quiet)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are set side by side.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option("--out", help="The file to write. Default: report.html in the first run folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write report.html, one self-contained file, from what run folders hold."""
    from stalwart.core.contracts import Event
    from stalwart.run.report import report as runner

    def events() -> Iterator[Event]:
        yield Event("saved", {"path": str(runner(runs, to))})

    play(events(), as_json=as_json)


def demo(
    task: Annotated[
        str, typer.Option("--task", help="classification, on real digits; detection, semantic or instance, on shapes.")
    ] = "classification",
    to: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of everything random.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a small net, attack, harden, attack again, and report. A minute to a few on a CPU."""
    from stalwart.run.demo import demo as runner

    play(iter(runner(to, task=task, seed=seed)), as_json=as_json, quiet=quiet)

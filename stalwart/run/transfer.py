"""Transfer between models: each is attacked, and every model is asked about what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from stalwart.core import catalog
from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Attack, Event, Rendered, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.queries import quiet
from stalwart.core.rendering import pictures
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.core.statistics import wilson
from stalwart.run._judge import seeks_least, settle
from stalwart.run._progress import progress
from stalwart.run._subject import Subject, open_subject


def transfers(
    paths: Sequence[str | Path],
    attack: str | Attack = "pgd(steps=20)",
    threat: str | Threat = "linf(8/255)",
    *,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    goal: str = "",
    limit: int | None = 1000,
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
) -> Iterator[Event]:
    """Attack each run's model, ask every model about the images that came of it, and keep the matrix in each run's
    `results/`.

    The attacker sees one model and knows nothing of the one that is asked, as in Papernot, McDaniel and Goodfellow,
    "Transferability in machine learning" (2016). Attacks go on to their last step: an image that has only just fooled
    one model seldom fools another. Images are judged inside the threat, rounded to 8 bits, in float32.

    Args:
        paths: two runs at least, trained on the same classes and image size.
        data: the images to attack; None: the first run's own.
        limit: at most so many images, drawn by a fixed seed; None for the whole split.

    Yields:
        start, progress, saved, result: `accuracy[i][j]` is model j's on the images made against model i, `untouched[j]`
        its accuracy on the images as they are, and `fooled[i][j]` the share of j's right answers that they spoil.

    Raises:
        InputError: fewer than two runs, one given twice, models that take other images or tell other classes.
    """
    if len(paths) < 2 or len({Path(path).resolve() for path in paths}) < len(paths):
        raise InputError(f"transfer needs two different runs at least. Got {', '.join(map(str, paths)) or 'none'}.")
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    solver: Attack = catalog.make(attack, "attacks")
    around: Threat | Rendered = catalog.make(threat, "threats")
    subjects: list[Subject] = []
    for path in paths:
        images = data if data is not None or not subjects else subjects[0].data
        subjects.append(open_subject(path, data=images, split=split, checkpoint=checkpoint, limit=limit, device=device))
        _refuse_other(subjects[0], subjects[-1])
    batches = subjects[0].batches(batch, workers=workers, skip_bad=skip_bad)
    k, n = len(subjects), batches.count
    total = k * n
    start = {"what": "transfer", "total": total, "unit": "images", "data": subjects[0].data, "split": split}
    yield Event("start", {**start, "attack": spell(solver), "threat": spell(around)})
    for line in batches.skipped:
        yield Event("warning", {"message": f"left out {line}"})
    untouched = torch.zeros(k, dtype=torch.int64)
    right, spoiled = torch.zeros(k, k, dtype=torch.int64), torch.zeros(k, k, dtype=torch.int64)
    begun, done = time.perf_counter(), 0
    for item in batches.epoch(0):
        clean = item.images
        before = [_right(subject, clean, item.targets, goal) for subject in subjects]
        untouched += torch.tensor([int(own.sum()) for own in before])
        for i, source in enumerate(subjects):
            with frozen(source.model):
                aim = quiet(source.task.goal(source.model, item.targets, goal))
                sought = aim if seeks_least(solver) else Unstopped(aim)
                noise = Noise.of_images(clean, seed)
                if isinstance(around, Rendered):
                    found = pictures(solver, clean, sought, around, noise, 8)
                else:
                    found = settle(solver(clean, sought, around, noise).detach().to(clean.dtype), clean, around, 8)
            for j, asked in enumerate(subjects):
                after = _right(asked, found, item.targets, goal)
                right[i, j] += int(after.sum())
                spoiled[i, j] += int((before[j] & ~after).sum())
            done += len(clean)
            yield progress(done, total, begun)
    result = {
        "kind": "transfer",
        "attack": spell(solver),
        "threat": spell(around),
        "goal": goal,
        "runs": [str(path) for path in paths],
        "weights": [subject.card.get("sha256") for subject in subjects],
        "split": split,
        "checkpoint": checkpoint,
        "data": subjects[0].data,
        "n": n,
        "seed": seed,
        "untouched": [count / n for count in untouched.tolist()],
        "accuracy": [[count / n for count in row] for row in right.tolist()],
        "intervals": [[wilson(count, n) for count in row] for row in right.tolist()],
        "fooled": [
            [count / of if of else None for count, of in zip(row, untouched.tolist(), strict=True)]
            for row in spoiled.tolist()
        ],
        "seconds": time.perf_counter() - begun,
    }
    name = f"transfer {spell(solver)} {spell(around)} {goal}"
    for subject in subjects:
        yield Event("saved", {"path": str(subject.folder.write_result(name, result))})
    yield Event("result", result)


@torch.no_grad()
def _right(subject: Subject, images: torch.Tensor, targets: Any, goal: str) -> torch.Tensor:
    """(B,) bool: where the attacker's goal is not reached."""
    with frozen(subject.model):
        reached = subject.task.goal(subject.model, targets, goal)(images).reached
    assert reached is not None
    return ~reached.cpu()


def _refuse_other(first: Subject, other: Subject) -> None:
    mine, theirs = first.card["signature"], other.card["signature"]
    if mine != theirs or spell(first.task) != spell(other.task):
        raise InputError(
            f"transfer needs models of one task that take the same images: {first.folder.path} was built for {mine}. "
            f"Got {other.folder.path}, built for {theirs}."
        )
    if not torch.equal(first.numbers, other.numbers) or len(first.examples) != len(other.examples):
        raise InputError(
            f"transfer needs the same images for all models, and {other.folder.path} divides the data in another way. "
            "Take split='test'."
        )

"""The corruption benchmark: a model's errors under common corruptions, by kind and severity, and their mean."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stalwart.core.contracts import Event, Metric
from stalwart.core.corruptions import BENCHMARK, KINDS, corrupt
from stalwart.core.corruptions.tables import SEVERITIES, SMALL
from stalwart.core.errors import InputError, nearest
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.run._progress import progress
from stalwart.run._subject import Subject, open_subject

Cell = tuple[str, int]
"""(kind, severity); ('', 0) for the clean images."""
CLEAN: Cell = ("", 0)


def corruptions(
    path: str | Path,
    kinds: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    *,
    baseline: str | Path | None = None,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    limit: int | None = 1000,
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
) -> Iterator[Event]:
    """Measure a run's checkpoint under common corruptions and keep the figures in its `results/`.

    Hendrycks and Dietterich (ICLR 2019), section 4: with a baseline f₀ the corruption error of a kind is
    CE = Σ_s E_s / Σ_s E_s(f₀) over the severities and mCE its mean over the kinds; the relative one subtracts each
    model's clean error first. Without a baseline the plain mean of all errors is given, as is usual for CIFAR-10-C, and
    is called so. An error is one less the task's score (`score` in the result), for classification the share of wrong
    answers; of a dense task the screen and the report show the score itself.

    Args:
        path: the run folder.
        kinds: which corruptions (`core/corruptions`); none: the fifteen of the benchmark. 'all': the four extra ones
            too, which count in the mean only where they are named.
        severities: of 1 to 5.
        baseline: another run of the same classes and image size, measured on the very same pictures.
        limit: at most so many images, drawn by a fixed seed; None for the whole split.
        seed: of what chance decides, which belongs to each image.

    Yields:
        start, progress, warning, saved, result.

    Raises:
        InputError: no such run, split, kind or severity; a baseline that does not fit.
    """
    chosen = tuple(dict.fromkeys(KINDS if tuple(kinds) == ("all",) else kinds or BENCHMARK))
    levels = tuple(sorted(set(severities)))
    for kind in chosen:
        if kind not in KINDS:
            raise InputError(f"there is no corruption {kind!r}. {nearest(kind, KINDS)}")
    if not levels or not set(levels) <= set(SEVERITIES):
        raise InputError(f"severities must be of 1 to 5, one at least. Got {tuple(severities)}.")
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    subject = open_subject(path, data=data, split=split, checkpoint=checkpoint, limit=limit, device=device)
    rival = None if baseline is None else _rival(baseline, subject, split, checkpoint, limit, device)
    subjects = [subject] if rival is None else [subject, rival]
    batches = subject.batches(batch, workers=workers, skip_bad=skip_bad)
    cells: list[Cell] = [CLEAN, *((kind, level) for kind in chosen for level in levels)]
    total = batches.count * len(cells)
    yield Event(
        "start", {"what": "corruptions", "total": total, "unit": "images", "data": subject.data, "split": split}
    )
    for line in batches.skipped:
        yield Event("warning", {"message": f"left out {line}"})
    metrics = [{cell: one.task.metric(one.examples.info) for cell in cells} for one in subjects]
    begun, done = time.perf_counter(), 0
    for item in batches.epoch(0):
        noise = Noise.of_index(item.index, seed, "corruptions").to(item.images.device)
        for cell in cells:
            pictures = item.images
            if cell != CLEAN:
                # Rounded to 8 bits, as they would be saved; cutting off would darken each by half a level.
                pictures = corrupt(item.images, *cell, noise).mul_(255).round_().div_(255)
            for one, gathered in zip(subjects, metrics, strict=True):
                with frozen(one.model), torch.inference_mode():
                    gathered[cell].update(one.task.predict(one.model, pictures), item.targets)
            done += len(item.images)
            yield progress(done, total, begun, corruption=" ".join(map(str, cell)) if cell != CLEAN else "none")
    errors = [_errors(gathered, subject.task.score) for gathered in metrics]
    result = {
        "kind": "corruptions",
        "split": split,
        "checkpoint": checkpoint,
        "data": subject.data,
        "n": batches.count,
        "seed": seed,
        "constants": "32 pixels (CIFAR-10-C)" if min(batches.size or (0,)) < SMALL else "224 pixels (ImageNet-C)",
        "severities": list(levels),
        "score": subject.task.score,
        "baseline": None if rival is None else str(rival.folder.path),
        **summary(errors[0], errors[1] if rival else None, chosen, levels),
        "seconds": time.perf_counter() - begun,
    }
    said = [] if not kinds and levels == SEVERITIES else [*kinds, *map(str, levels)]
    name = " ".join(["corruptions", split, *said])
    yield Event("saved", {"path": str(subject.folder.write_result(name, result))})
    yield Event("result", result)


def _rival(path: str | Path, subject: Subject, split: str, checkpoint: str, limit: int | None, device: str) -> Subject:
    other = open_subject(path, data=subject.data, split=split, checkpoint=checkpoint, limit=limit, device=device)
    wanted, came = subject.card["signature"], other.card["signature"]
    if [wanted["channels"], *wanted["size"]] != [came["channels"], *came["size"]]:
        raise InputError(
            f"the baseline must take images of {wanted['size']} with {wanted['channels']} channels, as "
            f"{subject.folder.path} does. {other.folder.path} takes {came['size']} with {came['channels']}."
        )
    return other


def _errors(gathered: Mapping[Cell, Metric], score: str) -> dict[Cell, float]:
    return {cell: 1 - float(metric.compute()[score]) for cell, metric in gathered.items()}


def summary(
    errors: Mapping[Cell, float], rival: Mapping[Cell, float] | None, kinds: Sequence[str], levels: Sequence[int]
) -> dict[str, Any]:
    """The table of errors and what is made of it. A ratio to a baseline without any error is None."""
    rows = []
    for kind in kinds:
        own = [errors[kind, level] for level in levels]
        row: dict[str, Any] = {"name": kind, "errors": own, "error": sum(own) / len(own)}
        if rival is not None:
            theirs = [rival[kind, level] for level in levels]
            row["baseline"] = theirs
            row["ce"] = _ratio(sum(own), sum(theirs))
            n = len(levels)
            row["relative_ce"] = _ratio(sum(own) - n * errors[CLEAN], sum(theirs) - n * rival[CLEAN])
        rows.append(row)
    return {
        "clean_error": errors[CLEAN],
        "baseline_clean_error": None if rival is None else rival[CLEAN],
        "mean_error": sum(row["error"] for row in rows) / len(rows),
        "mce": _mean([row.get("ce") for row in rows]),
        "relative_mce": _mean([row.get("relative_ce") for row in rows]),
        "kinds": rows,
    }


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 1e-12 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None

"""Detectors of adversarial input: fitted on one attack, judged on others, and attacked together with the model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stalwart.core import catalog, screening
from stalwart.core.contracts import Attack, Detector, Event, Rendered, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import generator
from stalwart.core.spelling import spell
from stalwart.run._detected import ALPHAS, BASELINE, Scorer, card_of, entry_of, told
from stalwart.run._evasion import Joint, evasions
from stalwart.run._judge import seeks_least
from stalwart.run._negatives import negatives
from stalwart.run._progress import progress
from stalwart.run._subject import Subject, open_subject
from stalwart.run.attack import attack
from stalwart.store import guard as guards

FEWEST = 10
"""Adversarial examples that fitting takes at least."""


def detect(
    path: str | Path,
    detector: str | Detector = "mahalanobis()",
    attacks: Sequence[str | Attack] = ("pgd(steps=20)",),
    threat: str | Threat = "linf(8/255)",
    *,
    fit_attack: str | Attack = "fgsm()",
    ood: str | None = None,
    joint: str | Attack | None = None,
    evade: int = 100,
    radii: Sequence[float] = (0.5, 1.0),
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    goal: str = "",
    limit: int | None = 1000,
    known: int = 2000,
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
) -> Iterator[Event]:
    """Fit a detector to a run's model, judge it on attacks that it was not fitted on, then attack both together.

    The split's images are divided at random: a quarter to fit (with training images beside), three eighths to set
    thresholds, three eighths to judge. Thresholds are conformal: of images like these at most 5 % (and 1 %) are
    flagged. `energy()`, which learns nothing, goes through all the same and stands beside. What was fitted is kept in
    the run's `guard/`, for `predict(guard=True)`; figures in `results/detect-....json`.

    Args:
        attacks: judged by their successes alone: images that the model gets right and, attacked, wrong.
        threat: of every attack here, of the noise, and of the joint evasion's largest ε.
        fit_attack: what a detector that learns from attacks is shown.
        ood: a data set whose images count as out of the distribution; None: inverted and shuffled test images.
        joint: what climbs the joint goals; None: `apgd(steps=50)`, or `pgd(steps=50)` where the threat is no L∞ or L2.
        evade: test images of the joint evasion; 0: leave it out.
        radii: the joint evasion's radii as shares of the threat's ε, in (0, 1]; 1 is always among them.
        limit: at most so many images of the split, drawn by a fixed seed; None for all.
        known: at most so many training images to fit to.

    Yields:
        start, note, progress, warning, saved, result.

    Raises:
        InputError: no such run, split or spelling; too few images, or too few successes to fit to.
    """
    chosen: Detector = catalog.make(detector, "detectors")
    solvers: list[Attack] = [catalog.make(spelled, "attacks") for spelled in attacks]
    teacher: Attack = catalog.make(fit_attack, "attacks")
    around: Threat = catalog.make(threat, "threats")
    if isinstance(around, Rendered):
        raise InputError(f"detect needs a threat that changes pixels, such as linf(8/255). Got {spell(around)}.")
    usual = "apgd(steps=50)" if getattr(around, "p", None) in (2, math.inf) else "pgd(steps=50)"
    climber: Attack = catalog.make(usual if joint is None else joint, "attacks")
    shares = sorted({*radii, 1.0})
    if not solvers:
        raise InputError("detect needs at least one attack to judge the detector on. Got none.")
    if batch < 1 or known < 1 or evade < 0:
        raise InputError(f"batch and known must be at least 1 and evade at least 0. Got {batch}, {known}, {evade}.")
    if not all(0 < share <= 1 for share in shares):
        raise InputError(f"radii must be shares of ε in (0, 1]. Got {tuple(radii)}.")
    if around.epsilon <= 0:
        raise InputError("a threat to detect attacks under needs ε > 0.")
    if seeks_least(climber):
        raise InputError(f"joint must be an attack that climbs a loss, such as pgd() or apgd(). Got {spell(climber)}.")
    subject = open_subject(path, data=data, split=split, checkpoint=checkpoint, limit=limit, device=device)
    images, labels = _all(subject, batch, workers, skip_bad)
    parts = _divide(len(images), seed)
    fit, calibration, test = (images[part] for part in parts)
    target_of = {name: labels[part] for name, part in zip(("fit", "calibration", "test"), parts, strict=True)}
    scorers = [chosen] if spell(chosen) == BASELINE else [chosen, catalog.make(BASELINE, "detectors")]
    joined = min(evade, len(test))
    total = len(test) * len(solvers) + joined * len(scorers) + (len(fit) if chosen.trained else 0)
    start = {"what": "detect", "total": total, "unit": "images", "data": subject.data, "split": split}
    yield Event("start", {**start, "detector": spell(chosen), "threat": spell(around)})
    model, task, begun, done = subject.model, subject.task, time.perf_counter(), 0

    teaching: Tensor | None = None
    if chosen.trained:
        found = attack(model, fit, target_of["fit"], teacher, around, task=task, goal=goal, seed=seed, batch=batch)
        teaching = found.adversarial[found.reached & ~found.clean_reached]
        done += len(fit)
        yield progress(done, total, begun)
        if len(teaching) < FEWEST:
            raise InputError(
                f"{spell(chosen)} learns from an attack, and {spell(teacher)} under {spell(around)} succeeded on "
                f"{len(teaching)} of {len(fit)} images; it takes {FEWEST}. Fit on a stronger attack or a larger ε."
            )
    trained_on = open_subject(path, data=data, split="train", checkpoint=checkpoint, limit=known, device=device)
    clean, clean_labels = _all(trained_on, batch, workers, skip_bad)
    fitted: list[Scorer] = []
    with frozen(model), torch.no_grad():
        for item in scorers:
            learnt = item.fit(model, clean, clean_labels, fit, teaching if item.trained else None)
            scores = _scores(item, subject, calibration, learnt, batch)
            fitted.append(
                Scorer(item, learnt, {a: screening.conformal(scores, a) for a in ALPHAS}, screening.spread(scores))
            )
    few = [alpha for alpha in ALPHAS if not math.isfinite(fitted[0].thresholds[alpha])]
    for alpha in few:
        message = (
            f"{len(calibration)} calibration images are too few for a threshold at {alpha:.0%} false alarms, which "
            f"takes {screening.needed(alpha)}: nothing is flagged there."
        )
        yield Event("warning", {"message": message})

    sides = negatives(subject, test, around, ood, seed, skip_bad)
    with frozen(model), torch.no_grad():
        below = [[_scores(s.detector, subject, side.images, s.fitted, batch) for side in sides] for s in fitted]
    tables: list[list[dict[str, Any]]] = [[] for _ in fitted]
    for solver in solvers:
        found = attack(model, test, target_of["test"], solver, around, task=task, goal=goal, seed=seed, batch=batch)
        for warning in found.warnings:
            yield Event("warning", {"message": f"{spell(solver)}: {warning}"})
        won = found.adversarial[found.reached & ~found.clean_reached]
        done += len(test)
        yield progress(done, total, begun)
        if not len(won):
            message = f"{spell(solver)} under {spell(around)} has no success on {len(test)} images: nothing to detect."
            yield Event("warning", {"message": message})
        tried = int((~found.clean_reached).sum())
        shown = spell(solver) == spell(teacher)
        for scorer, lows, rows in zip(fitted, below, tables, strict=True):
            with frozen(model), torch.no_grad():
                highs = _scores(scorer.detector, subject, won, scorer.fitted, batch)
            rows.append(
                {
                    "attack": spell(solver),
                    "seen": shown and scorer.detector.trained,
                    "tried": tried,
                    "n": len(won),
                    **told(scorer, sides, lows, highs),
                }
            )

    joint_results: list[dict[str, Any] | None] = [None] * len(fitted)
    for place, scorer in enumerate(fitted):
        if not joined:
            break
        # The baseline is attacked at the first rate alone, and a detector at rates that it has a threshold for.
        rates = ALPHAS if scorer.detector is chosen else ALPHAS[:1]
        usable = {a: scorer.guard(a) for a in rates if math.isfinite(scorer.thresholds[a]) or a == ALPHAS[0]}
        with frozen(model):
            pool, pool_labels = _guides(subject, scorer, calibration, target_of["calibration"], batch)
            climbs = Joint(
                model, task, usable, around, [share * around.epsilon for share in shares], climber, pool, pool_labels,
                goal=goal, seed=seed,
            )  # fmt: skip
            for event in evasions(climbs, test[:joined], target_of["test"][:joined], batch, done, total):
                if event.kind == "result":
                    joint_results[place] = dict(event.values)
                else:
                    yield event
        done += joined

    figures = [
        entry_of(scorer, sides, lows, rows, found_joint)
        for scorer, lows, rows, found_joint in zip(fitted, below, tables, joint_results, strict=True)
    ]
    folder = guards.save(
        subject.folder.path, fitted[0].fitted, card_of(subject, chosen, fitted[0], teacher, around, parts)
    )
    yield Event("saved", {"path": str(folder)})
    result = {
        "kind": "detect",
        "detector": spell(chosen),
        "fit_attack": spell(teacher) if chosen.trained else None,
        "threat": spell(around),
        "threat_name": type(around).__name__,
        "epsilon": around.epsilon,
        "goal": goal,
        "split": split,
        "checkpoint": checkpoint,
        "data": subject.data,
        "seed": seed,
        "n": len(test),
        "counts": {
            "training": len(clean), "fit": len(fit), "attacked": 0 if teaching is None else len(teaching),
            "calibration": len(calibration), "test": len(test),
        },
        "scorers": figures,
        "says": " ".join(entry["says"] for entry in figures),
        "seconds": time.perf_counter() - begun,
    }  # fmt: skip
    name = f"detect {spell(chosen)} {spell(around)}"
    yield Event("saved", {"path": str(subject.folder.write_result(name, result))})
    yield Event("note", {"message": result["says"]})
    yield Event("result", result)


def _all(subject: Subject, batch: int, workers: int, skip_bad: bool) -> tuple[Tensor, Tensor]:
    """A split's images (n, C, H, W) and labels (n,)."""
    images, labels = [], []
    for item in subject.batches(batch, workers=workers, skip_bad=skip_bad).epoch(0):
        if not isinstance(item.targets, Tensor) or item.targets.ndim != 1:
            raise InputError(f"detect needs a task of one class an image. Got {spell(subject.task)}.")
        images.append(item.images)
        labels.append(item.targets)
    return torch.cat(images), torch.cat(labels)


def _divide(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions to fit, calibrate and test with: a quarter, three eighths, three eighths, at random.

    Raises:
        InputError: fewer images than leave any for each.
    """
    if n < 8:
        raise InputError(f"detect needs at least 8 images to divide. Got {n}.")
    order = torch.randperm(n, generator=generator(seed, "detect"))
    first, second = n // 4, n // 4 + (n - n // 4) // 2
    return order[:first], order[first:second], order[second:]


def _scores(detector: Detector, subject: Subject, images: Tensor, fitted: Mapping[str, Tensor], batch: int) -> Tensor:
    parts = [detector.score(subject.model, part, fitted) for part in torch.split(images, batch) if len(part)]
    return torch.cat(parts).cpu() if parts else torch.zeros(0)


@torch.no_grad()
def _guides(subject: Subject, scorer: Scorer, images: Tensor, labels: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Calibration images that the model gets right and the detector lets pass: whom an attacker takes after."""
    scores = _scores(scorer.detector, subject, images, scorer.fitted, batch).to(images.device)
    right = torch.cat([subject.model(part).argmax(1) for part in torch.split(images, batch)]) == labels
    kept = right & (scores <= scores.median())
    return images[kept], labels[kept]

"""Certified accuracy: what a shield proves of a run's model, image by image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from stalwart.core import catalog
from stalwart.core.contracts import Certifying, Event, Shield
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.core.statistics import wilson
from stalwart.run._progress import progress
from stalwart.run._subject import open_subject

POINTS = 20
"""Radii of the curve between 0 and the largest that was certified."""


def certify(
    path: str | Path,
    shield: str | Shield = "smoothing(sigma=0.25)",
    *,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    limit: int | None = 100,
    seed: int = 0,
    batch: int = 32,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
) -> Iterator[Event]:
    """Certify a run's checkpoint behind `shield` and keep the figures in its `results/certify-<split>-<shield>.json`.

    Certified accuracy at radius r is the share of images whose right answer is proven to stand every change of L2 norm
    below r; where the shield abstains, an image counts as wrong (Cohen et al. 2019, section 4). Each image's
    certificate is wrong with probability `alpha` at most. `forwards` counts images through the model, all samples of
    all images together.

    Args:
        shield: one that can prove something, such as `smoothing(sigma=0.25, samples=10_000)`.
        limit: at most so many images, drawn by a fixed seed; None for the whole split.
        seed: of the noise, which belongs to each image: the same seed proves the same, at any batch size.

    Yields:
        start, progress, warning, saved, result.

    Raises:
        InputError: no such run, split or spelling; a shield that proves nothing; a task without classes.
    """
    around: Shield = catalog.make(shield, "shields")
    if not isinstance(around, Certifying):
        raise InputError(f"certify needs a shield that can prove something, such as smoothing(). Got {spell(around)}.")
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    subject = open_subject(path, data=data, split=split, checkpoint=checkpoint, limit=limit, device=device)
    batches = subject.batches(batch, workers=workers, skip_bad=skip_bad)
    total = batches.count
    start = {"what": "certify", "total": total, "unit": "images", "data": subject.data, "split": split}
    yield Event("start", {**start, "shield": spell(around)})
    for line in batches.skipped:
        yield Event("warning", {"message": f"left out {line}"})
    begun = time.perf_counter()
    plain, proven = torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.float64)
    abstained = 0
    asked: list[int] = []
    counter = subject.model.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    for item in batches.epoch(0):
        if not isinstance(item.targets, torch.Tensor) or item.targets.ndim != 1:
            raise InputError(f"certify needs a task of one class an image. Got {spell(subject.task)}.")
        with frozen(subject.model), torch.inference_mode():
            noise = Noise.of_images(item.images, seed).fork("certify")
            found = around.certify(subject.model, item.images, noise)
            right = subject.model(item.images).argmax(1) == item.targets
        abstained += int((found.prediction < 0).sum())
        # −1 where the answer is wrong or none: such an image counts at no radius.
        radius = torch.where(found.prediction == item.targets, found.radius, -1.0)
        plain, proven = torch.cat([plain, right.cpu()]), torch.cat([proven, radius.cpu()])
        yield progress(len(proven), total, begun, certified=float((proven >= 0).float().mean()))
    counter.remove()
    result = {
        "kind": "certify",
        "shield": spell(around),
        "threat_name": "l2",
        "split": split,
        "checkpoint": checkpoint,
        "data": subject.data,
        "n": len(proven),
        "seed": seed,
        "alpha": around.alpha,
        "without": float(plain.float().mean()),
        "certified_accuracy": float((proven >= 0).float().mean()),
        "abstained": abstained / len(proven),
        "mean_radius": float(proven.clamp_min(0).mean()),
        "curve": curve(proven),
        "forwards": sum(asked) - len(proven),  # the look without the shield is no part of the proof
        "seconds": time.perf_counter() - begun,
    }
    yield Event("saved", {"path": str(subject.folder.write_result(f"certify {split} {spell(around)}", result))})
    yield Event("result", result)


def curve(proven: torch.Tensor) -> list[dict[str, Any]]:
    """Certified accuracy at radii from 0 to the largest: round steps, and the largest itself.

    Args:
        proven: (N,) each image's radius; below 0 where its answer is wrong or none.
    """
    n, largest = len(proven), max(float(proven.max()), 0.0)
    radii = [largest * k / POINTS for k in range(POINTS + 1)] if largest else [0.0]
    rows = []
    for radius in radii:
        standing = int((proven >= radius * (1 - 1e-12)).sum())
        rows.append({"epsilon": radius, "certified_accuracy": standing / n, "interval": wilson(standing, n)})
    return rows

"""Scoring a run's model on a split it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Shield
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.spelling import spell
from stalwart.run._progress import progress
from stalwart.run._subject import open_subject


class Averaged(nn.Module):
    """Test-time augmentation: the mean of the logits over the image, its mirror image, and shifts of each.

    Args:
        shift: pixels to shift by, up-left and down-right, edges reflected; 0 for the mirror alone.
    """

    def __init__(self, inner: nn.Module, shift: int = 1, mirror: bool = True) -> None:
        super().__init__()
        self.inner, self.shift, self.mirror = inner, shift, mirror

    def forward(self, images: Tensor) -> Tensor:
        views = [images]
        if self.shift:
            height, width = images.shape[-2:]
            padded = nn.functional.pad(images, (self.shift,) * 4, mode="reflect")
            far = 2 * self.shift
            views += [padded[..., :height, :width], padded[..., far : far + height, far : far + width]]
        if self.mirror:
            views += [view.flip(-1) for view in views]
        # The unshifted views count as much as all shifted ones together (as in Jordan's airbench).
        weights = [
            1.0 if index % (len(views) // (2 if self.mirror else 1)) == 0 else 0.5 for index in range(len(views))
        ]
        total = sum(weight * self.inner(view) for weight, view in zip(weights, views, strict=True))
        result: Tensor = total / sum(weights)
        return result


def evaluate(
    path: str | Path,
    *,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    shield: str | Shield | None = None,
    tta: bool = False,
    limit: int | None = None,
    batch: int = 256,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
) -> Iterator[Event]:
    """Score a run's checkpoint and keep the figures in its `results/evaluate-<split>.json`.

    Args:
        path: the run folder.
        data: another source than the run's own, with the same classes.
        split: 'train', 'val' or 'test'.
        checkpoint: 'best' or 'last'.
        shield: put this shield around the model; the figures are then kept as `results/shielded-<split>-<shield>.json`.
        tta: average over the mirror image and one-pixel shifts (test-time augmentation).
        limit: at most so many images.

    Yields:
        start, progress, warning, result.

    Raises:
        InputError: no such run or split, damaged files, classes that do not fit.
    """
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    subject = open_subject(path, data=data, split=split, checkpoint=checkpoint, limit=limit, device=device)
    batches = subject.batches(batch, workers=workers, skip_bad=skip_bad)
    total = batches.count
    around: Shield | None = None if shield is None else catalog.make(shield, "shields")
    spelled = {} if around is None else {"shield": spell(around)}
    start = {"what": "evaluate", "total": total, "unit": "images", "data": subject.data, "split": split}
    yield Event("start", {**start, **spelled})
    for line in batches.skipped:
        yield Event("warning", {"message": f"left out {line}"})
    model: nn.Module = subject.model if around is None else around(subject.model)
    if tta:
        model = Averaged(model)
    metric = subject.task.metric(subject.examples.info)
    begun = time.perf_counter()
    done, right_now = 0, begun
    with frozen(model), torch.inference_mode():
        for item in batches.epoch(0):
            metric.update(subject.task.predict(model, item.images), item.targets)
            done += len(item.images)
            if time.perf_counter() - right_now > 0.1 or done == total:
                right_now = time.perf_counter()
                yield progress(done, total, begun)
    figures = metric.compute()
    result = {
        "kind": "evaluate" if around is None else "evaluate-shielded",
        **spelled,
        "split": split,
        "checkpoint": checkpoint,
        "data": subject.data,
        "n": total,
        "skipped": len(batches.skipped),
        "tta": tta,
        "score": subject.task.score,
        "seconds": time.perf_counter() - begun,
        "intervals": figures.pop("intervals", {}),
        "figures": figures,
    }
    name = f"evaluate {split}" if around is None else f"shielded {split} {spell(around)}"
    written = subject.folder.write_result(name, result)
    yield Event("saved", {"path": str(written)})
    yield Event("result", result)

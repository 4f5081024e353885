"""The adversarial examples that an attack keeps to be shown: which ones, and what the model says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stalwart.core.contracts import Batch, Drawing, Drawn
from stalwart.core.freeze import frozen
from stalwart.run._judge import Ledger
from stalwart.run._parts import Found
from stalwart.run._subject import Subject
from stalwart.run._worst import Standing, Worst

MOST = 12
"""Adversarial examples kept of an attack."""


def fallen(subject: Subject, ledger: Ledger, batch: Batch, live: Tensor, level: int) -> list[Found]:
    """Of what fell at a radius, the best few of each group.

    Args:
        live: (b,) where the ledger's samples stand in the batch.
        level: the radius's number.
    """
    place, sizes = ledger.reached.nonzero().squeeze(1), ledger.sizes()
    best = sorted(place.tolist(), key=lambda i: (float(sizes[i]), -float(ledger.loss[i]), int(batch.index[live[i]])))
    taken: dict[int, int] = defaultdict(int)
    found = []
    for i in best:
        row = int(live[i])
        group = int(subject.examples.strata[int(batch.index[row])])
        if taken[group] >= MOST:
            continue
        taken[group] += 1
        picture = ledger.pictures(torch.tensor([i], device=place.device))[0]
        found.append(_found(subject, batch, row, level, float(sizes[i]), float(ledger.loss[i]), picture))
    return found


def spoiled(
    subject: Subject, worst: Worst, sizes: Tensor, untouched: Standing, batch: Batch, level: int
) -> list[Found]:
    """The images that were harmed most, by what the attack added to the harm that there was.

    Args:
        sizes: (B,) of the changes.
        untouched: how the clean images stood.
    """
    gain = worst.standing.harm - untouched.harm
    best = sorted((-float(gain[row]), int(batch.index[row]), row) for row in range(len(gain)) if gain[row] > 0)
    return [
        _found(subject, batch, row, level, float(sizes[row]), float(worst.standing.loss[row]), worst.images[row], -lost)
        for lost, _, row in best[:MOST]
    ]


def _found(
    subject: Subject, batch: Batch, row: int, level: int, size: float, loss: float, picture: Tensor, harm: float = 0.0
) -> Found:
    index, task = int(batch.index[row]), subject.task
    return Found(
        level,
        size,
        loss,
        index,
        int(subject.examples.strata[index]),
        _bytes(batch.images[row]),
        _bytes(picture),
        task.describe_target(batch.targets, row, subject.examples.info),
        task.draw_target(batch.targets, row) if isinstance(task, Drawn) else None,
        harm,
    )


def best_of(found: Sequence[Found]) -> list[Found]:
    """The best of each group, then the second best of each, ... as many as are shown."""
    groups: dict[int, list[Found]] = defaultdict(list)
    for item in found:
        groups[item.group].append(item)
    turns = [
        (turn, item.rank, item)
        for items in groups.values()
        for turn, item in enumerate(sorted(items, key=lambda found: found.rank))
    ]
    return [item for _, _, item in sorted(turns, key=lambda entry: entry[:2])[:MOST]]


@torch.inference_mode()
def examples(subject: Subject, found: Sequence[Found]) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """What the examples are, and what the model says of each, clean and attacked; and the tensors to show them by:
    the pictures (k, C, H, W) uint8 and, where the task can draw, what is to be drawn upon them."""
    if not found:
        return [], {}
    info, task = subject.examples.info, subject.task
    pictures = {
        "clean": torch.stack([item.clean for item in found]),
        "adversarial": torch.stack([item.adversarial for item in found]),
    }
    with frozen(subject.model):
        before, after = (
            task.predict(subject.model, pixels.to(subject.device).float() / 255) for pixels in pictures.values()
        )
    listed = [
        {
            "index": item.index,
            "name": subject.examples[item.index].name,
            "target": item.target,
            "clean": task.describe(before, row, info),
            "adversarial": task.describe(after, row, info),
            "size": item.size,
        }
        for row, item in enumerate(found)
    ]
    if isinstance(task, Drawn):
        pictures |= layers("truth", [item.truth for item in found if item.truth is not None])
        pictures |= layers("before", [task.draw(before, row) for row in range(len(found))])
        pictures |= layers("after", [task.draw(after, row) for row in range(len(found))])
    return listed, pictures


def layers(name: str, drawings: Sequence[Drawing]) -> dict[str, Tensor]:
    """Drawings as tensors, as `_report/drawings.py` reads them: NAME.boxes (n, 4), NAME.labels and NAME.scores (n,),
    NAME.image (n,), which says whose each is, and NAME.area (k, H, W)."""
    rows = [torch.full((len(one.labels),), row, dtype=torch.int64) for row, one in enumerate(drawings)]
    found = {
        f"{name}.boxes": torch.cat([one.boxes.cpu() for one in drawings]),
        f"{name}.labels": torch.cat([one.labels.cpu() for one in drawings]),
        f"{name}.scores": torch.cat([one.scores.cpu() for one in drawings]),
        f"{name}.image": torch.cat(rows),
    }
    areas = [one.area.cpu() for one in drawings if one.area is not None]
    return found | ({f"{name}.area": torch.stack(areas)} if len(areas) == len(drawings) else {})


def _bytes(image: Tensor) -> Tensor:
    """Rounded, not truncated: truncation would move half the pixels by a level."""
    return (image * 255).round().to(torch.uint8).cpu().contiguous()

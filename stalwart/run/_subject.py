"""What evaluation and attack work on: a run's model and one split of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Examples, Task
from stalwart.core.device import pick
from stalwart.core.errors import CheckpointError, InputError, nearest
from stalwart.core.rng import generator
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.split import Subset, open_splits
from stalwart.store import checkpoint as checkpoints
from stalwart.store.folder import RunFolder


@dataclass(frozen=True)
class Subject:
    """A run opened for a look at its model."""

    folder: RunFolder
    model: nn.Module
    card: dict[str, Any]
    task: Task
    examples: Examples
    """The split, or the part of it that `limit` left."""
    numbers: Tensor
    """(n,) int64: where each of the examples stands in the whole split."""
    data: str
    """The data as spelled."""
    device: torch.device

    def batches(self, batch: int, *, workers: int = 0, skip_bad: bool = False) -> Batches:
        signature = self.card["signature"]
        return Batches(
            self.examples,
            self.task,
            batch=batch,
            size=(int(signature["size"][0]), int(signature["size"][1])),
            channels=int(signature["channels"]),
            device=self.device,
            workers=workers,
            skip_bad=skip_bad,
        )


def open_subject(
    path: str | Path,
    *,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    limit: int | None = None,
    device: str = "auto",
) -> Subject:
    """Load a run's checkpoint and the split it is to be looked at with.

    Args:
        path: a run folder.
        data: another source than the run's own, spelled or as an object; its classes must be the model's.
        limit: so many images at most, drawn from the split by a fixed seed.

    Raises:
        InputError: no such run, checkpoint, split or data; classes that do not fit.
    """
    known = ("train", "val", "test")
    if split not in known:
        raise InputError(f"split must be one of {', '.join(known)}. Got {split!r}. {nearest(split, known)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 image. Got {limit}.")
    folder = RunFolder.open(Path(path))
    place = pick(device)
    model = checkpoints.load(folder.path / checkpoint, device=str(place))
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    spelled = card["data"] if data is None else data
    source = catalog.make(spelled, "data")
    settings = folder.config.get("settings", {})
    splits = open_splits(source, val=float(settings.get("val", 0.1)), seed=int(settings.get("seed", 0)))
    examples: Examples = getattr(splits, split)
    if tuple(examples.info.classes) != tuple(card["classes"]):
        raise CheckpointError(
            f"{folder.path / checkpoint} was trained on {_listed(card['classes'])}. "
            f"Got data with {_listed(examples.info.classes)}."
        )
    numbers = torch.arange(len(examples))
    if limit is not None and limit < len(examples):
        numbers = torch.randperm(len(examples), generator=generator(0, "limit", split))[:limit].sort().values
        examples = Subset(examples, numbers.tolist())
    if not len(examples):
        raise InputError(f"split {split!r} of {spell(source)} holds no images.")
    return Subject(folder, model, card, catalog.make(card["task"], "tasks"), examples, numbers, spell(source), place)


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    return f"{len(classes)} classes ({shown})"

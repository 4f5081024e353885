"""An attacker who wants everything to be taken for one class: which class, and of which images that says anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from stalwart.core.contracts import Directed
from stalwart.core.errors import InputError, nearest
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.split import Subset
from stalwart.run._subject import Subject


def index_of(toward: str | int, subject: Subject) -> int:
    """The index of a class that is given by name or by number.

    Raises:
        InputError: there is no such class, or the task cannot be attacked towards one.
    """
    classes = subject.examples.info.classes
    if not isinstance(subject.task, Directed):
        raise InputError(f"toward={toward!r}: the task {spell(subject.task)} has no goal of one class for everything.")
    if isinstance(toward, str) and toward in classes:
        return classes.index(toward)
    number = int(toward) if isinstance(toward, int) or (toward.isascii() and toward.isdigit()) else -1
    if not 0 <= number < len(classes):
        said = f" {nearest(toward, classes)}" if isinstance(toward, str) else ""
        raise InputError(f"toward must be a class's name or a number in 0..{len(classes) - 1}. Got {toward!r}.{said}")
    return number


def narrowed(subject: Subject, batches: Batches, label: int, split: str) -> Subject:
    """The subject with those images alone in which there is anything to be won towards class `label`.

    Raises:
        InputError: there are none.
    """
    task: Any = subject.task
    kept = [batch.index[task.toward(batch.targets, label)[1]].cpu() for batch in batches.epoch(0)]
    rows = torch.cat(kept).sort().values if kept else torch.zeros(0, dtype=torch.int64)
    if not len(rows):
        name = subject.examples.info.classes[label]
        raise InputError(f"toward={name!r}: expected images that hold another class in split {split!r}. Got none.")
    return replace(subject, examples=Subset(subject.examples, rows.tolist()), numbers=subject.numbers[rows])

"""Batches of two sources, so many of the one and so many of the other in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stalwart.core import objects
from stalwart.core.contracts import Batch
from stalwart.core.objects import ObjectBatch
from stalwart.core.rng import Noise
from stalwart.feed.batches import Batches


class Mixed:
    """Batches whose last images come from extra data.

    An epoch is one pass through the main data. The extra ones go at their own pace, in their own order, and begin again
    when they are through; which of them a batch holds depends on its epoch and number alone, so a run can be resumed
    anywhere. Their positions (`Batch.index`) follow the main data's.
    """

    def __init__(self, main: Batches, extra: Batches) -> None:
        self.main, self.extra = main, extra
        self.batch = main.batch + extra.batch
        self.count = main.count + len(main) * extra.batch
        """Images in an epoch."""
        self.size, self.channels, self.skipped = main.size, main.channels, main.skipped + extra.skipped

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.main)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` (counted from 0), beginning with number `start` (counted from 0)."""
        others = self._extra_from(epoch * len(self) + start)
        for one in self.main.epoch(epoch, start):
            yield _joined(one, next(others), len(self.main.examples))

    def _extra_from(self, number: int) -> Iterator[Batch]:
        """The extra data's batches, epoch after epoch, from the `number`-th of all."""
        while True:
            epoch, start = divmod(number, len(self.extra))
            for batch in self.extra.epoch(epoch, start):
                number += 1
                yield batch

    def close(self) -> None:
        self.main.close()
        self.extra.close()


def _joined(one: Batch, other: Batch, positions: int) -> Batch:
    return Batch(
        torch.cat([one.images, other.images]),
        _join(one.targets, other.targets),
        torch.cat([one.index, other.index + positions]),
        Noise(torch.cat([one.noise.keys, other.noise.keys])),
    )


def _join(one: Any, other: Any) -> Any:
    """Collated targets of both: tensors and lists one after the other, dicts and tuples part by part."""
    if isinstance(one, Tensor):
        return torch.cat([one, other])
    if isinstance(one, ObjectBatch):
        return objects.joined(one, other)
    if isinstance(one, dict):
        return {key: _join(value, other[key]) for key, value in one.items()}
    if isinstance(one, tuple):
        return tuple(_join(a, b) for a, b in zip(one, other, strict=True))
    return [*one, *other]

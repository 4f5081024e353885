"""Batches of training images: from memory or streamed from files, the same ones for the same seed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from stalwart.core.contracts import Augment, Batch, Composing, Examples, Moving, Placed, Task
from stalwart.core.errors import DataError, InputError
from stalwart.core.rng import Noise, generator
from stalwart.feed.reader import Reader
from stalwart.feed.shelf import Shelf

MEMORY_BYTES = 2 * 1024**3
"""Sets up to this size, decoded and resized, are kept in memory unless told otherwise."""


class Batches:
    """The batches of a split, epoch by epoch.

    What comes depends on the seed, the epoch and the samples alone, to the bit: not on `memory`, the number of
    workers, or the number of processes that share the work. Another device may round colours another way.

    Args:
        examples: the split.
        task: makes batch targets of the samples' targets.
        batch: images in a batch, over all processes. With `world` > 1 process `rank` gets its part of each: the parts
            in the ranks' order are the single process's batch. The epoch's last batch may hold fewer images, and then
            none at all for some ranks unless `drop_last`.
        size: (height, width) to bring every image to (`decode.fit`), whole where targets have places; None where they
            share one size already.
        channels: 1 or 3; None for the source's own.
        augments: applied in their order, each with noise of its own.
        shuffle: a new order each epoch, by `seed`.
        drop_last: leave out the last batch where it is not full.
        workers: processes that decode, where the split is streamed.
        device: where batches go. A split in memory is kept there too.
        skip_bad: leave out files that cannot be read (`skipped` says which) where otherwise the first one is an
            error. Every file is read once before the first batch, so that the order is known.
        memory: keep the split in memory, decoded; None: if it takes at most 2 GiB.
        cache: a folder to keep it in where it is not kept in memory, decoded and mapped (`feed/shelf.py`); '' for none.
        layout: memory layout of the images, `torch.channels_last` or `torch.contiguous_format`.

    Raises:
        InputError: numbers out of their range.
        DataError: a file that cannot be read, or images of different sizes without `size`; it names the file.
    """

    def __init__(
        self,
        examples: Examples,
        task: Task,
        *,
        batch: int,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        augments: tuple[Augment, ...] = (),
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        workers: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        skip_bad: bool = False,
        memory: bool | None = None,
        cache: str = "",
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        for name, value, low in (("batch", batch, 1), ("workers", workers, 0), ("world", world, 1)):
            if value < low:
                raise InputError(f"{name} must be >= {low}. Got {value!r}.")
        if not 0 <= rank < world:
            raise InputError(f"rank must be >= 0 and < {world}, the number of processes. Got {rank!r}.")
        self.examples, self.task, self.batch, self.augments, self.seed = examples, task, batch, augments, seed
        self.shuffle, self.drop_last, self.workers, self.rank, self.world = shuffle, drop_last, workers, rank, world
        self.device = torch.device(device)
        self.layout = layout
        self.skipped: list[str] = []
        """One line for each file left out: its name and what is wrong with it."""
        self._placed = task if isinstance(task, Placed) else None
        self._composing = _composing(augments, self._placed)
        self._reader = Reader(examples, size, channels, layout, skip_bad, self._placed)
        self.size: tuple[int, int] | None = self._reader.size
        """(height, width) of the images; None for a split without samples."""
        self.channels: int = self._reader.channels
        self._positions = torch.arange(len(examples))  # (n,) the samples that can be read
        self._images: Tensor | None = None  # (n, H, W, C) uint8 for channels_last, else (n, C, H, W)
        self._targets: Sequence[Any] = ()
        self._labels: Tensor | None = None  # (n,) all targets in one, where the task makes them so
        self._loader: DataLoader[Any] | None = None
        self._plan = _Plan()
        self._fill(skip_bad, memory, cache)

    @property
    def count(self) -> int:
        """Samples in the split that can be read."""
        return len(self._positions)

    @property
    def positions(self) -> Tensor:
        """(n,) int64: where each sample that can be read stands in the split."""
        return self._positions

    @property
    def in_memory(self) -> bool:
        """Whether the split is kept decoded, in memory or mapped into it."""
        return self._images is not None

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(self.count, self.batch)
        return full if self.drop_last or not rest else full + 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` (counted from 0), beginning with number `start` (counted from 0).

        One epoch at a time: to ask for another ends the one before where the split is streamed.
        """
        if not 0 <= start <= len(self):
            raise InputError(f"start must be a batch number in 0..{len(self)}. Got {start!r}.")
        if self.shuffle:
            order = torch.randperm(self.count, generator=generator(self.seed, "order", epoch))
        else:
            order = torch.arange(self.count)
        return self.of([self._part(order, number) for number in range(start, len(self))], epoch)

    def of(self, parts: list[Tensor], epoch: int = 0) -> Iterator[Batch]:
        """Batches of these rows (b,), as many as there are parts; a row is a number among the samples that can be read
        (`positions`)."""
        return self._from_memory(parts, epoch) if self.in_memory else self._from_files(parts, epoch)

    def close(self) -> None:
        """Send the workers home. A later epoch starts them again."""
        self._loader = None

    def _part(self, order: Tensor, number: int) -> Tensor:
        """This rank's part of a batch: rows of the samples that can be read."""
        whole = order[number * self.batch : (number + 1) * self.batch]
        return whole[len(whole) * self.rank // self.world : len(whole) * (self.rank + 1) // self.world]

    def _from_memory(self, parts: list[Tensor], epoch: int) -> Iterator[Batch]:
        assert self._images is not None
        for rows in parts:
            wanted = self._with_others(rows, epoch)
            there = wanted.to(self.device, non_blocking=True)
            if self._labels is not None:
                targets: Any = self._labels.index_select(0, there)
            else:
                targets = _move(self.task.collate([self._targets[row] for row in wanted.tolist()]), self.device)
            images = self._images.index_select(0, there.to(self._images.device))
            yield self._finish(images.to(self.device, non_blocking=True), targets, rows, epoch)

    def _from_files(self, parts: list[Tensor], epoch: int) -> Iterator[Batch]:
        if self._loader is None:
            self._loader = DataLoader(
                self._reader,  # type: ignore[arg-type]
                batch_size=None,
                sampler=self._plan,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda",
                persistent_workers=self.workers > 0,
                generator=generator(self.seed, "loader"),  # else torch's global one would be drawn from
            )
        self._plan.parts = [self._positions[self._with_others(rows, epoch)].tolist() for rows in parts]
        for rows, (images, targets, trouble) in zip(parts, self._loader, strict=True):
            if trouble:
                raise DataError(trouble)
            images = images.to(self.device, non_blocking=True)
            yield self._finish(images, _move(self.task.collate(targets), self.device), rows, epoch)

    def _with_others(self, rows: Tensor, epoch: int) -> Tensor:
        """The rows (b · m,) of all images that a batch is made of; the batch's own (b,) where nothing is composed."""
        if self._composing is None:
            return rows
        noise = Noise.of_index(self._positions[rows], self.seed).fork("augment", 0)
        return torch.cat([rows[:, None], self._composing.others(noise, epoch, self.count)], 1).flatten()

    def _finish(self, images: Tensor, targets: Any, rows: Tensor, epoch: int) -> Batch:
        if self.layout == torch.channels_last:
            images = images.permute(0, 3, 1, 2)  # (B, C, H, W)
        images = images.float().div_(255)
        index = self._positions[rows].to(self.device, non_blocking=True)
        noise = Noise.of_index(index, self.seed)
        for place, augment in enumerate(self.augments):
            drawn, before = noise.fork("augment", place), (images.shape[2], images.shape[3])
            if self._placed is not None and isinstance(augment, Composing):
                maps, windows = augment.frames(drawn, epoch, before)
                images = augment(images.view(*windows.shape[:2], *images.shape[1:]), drawn, epoch)
                targets = self._placed.compose(self._placed.move(targets, maps.flatten(0, 1), before), windows)
                continue
            images = augment(images, drawn, epoch)
            if self._placed is not None and isinstance(augment, Moving):
                placement = augment.placement(drawn, epoch, before)
                targets = self._placed.move(targets, placement, (images.shape[2], images.shape[3]))
        return Batch(images, targets, index, noise.fork("step", epoch))

    def _fill(self, skip_bad: bool, memory: bool | None, cache: str) -> None:
        if not len(self.examples):
            return
        if self.size is None:  # the reader looked at every file for its size
            self._refuse_none()
        whole = self.examples.arrays() if memory is not False else None
        if whole is not None and self._reader.fits(whole[0]):
            kept = whole[0] if self.layout != torch.channels_last else whole[0].permute(0, 2, 3, 1)
            self._keep(kept.contiguous().to(self.device), whole[1])
            return
        if memory is None:
            memory = len(self.examples) * self.channels * self.size[0] * self.size[1] <= MEMORY_BYTES
        if not memory and not skip_bad and not cache:
            return
        shelf = Shelf(cache) if cache and not memory else None
        images = self._reader.room(len(self.examples), shelf) if memory or shelf is not None else None
        targets: list[Any] = []
        good: list[int] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            try:
                for position, (image, target, trouble) in enumerate(pool.map(self._reader.try_read, self._positions)):
                    if image is None and not skip_bad:
                        raise DataError(trouble)
                    if image is None:
                        self.skipped.append(trouble)
                        continue
                    if images is not None:
                        images[len(good)] = image
                        targets.append(target if shelf is None else shelf.keep(target))
                    good.append(position)
            finally:
                pool.shutdown(cancel_futures=True)
        if not good:
            self._refuse_none()
        self._positions = torch.tensor(good, dtype=torch.int64)
        if images is not None:
            images = images[: len(good)]
            self._keep(images if shelf is not None else images.to(self.device), targets)

    def _refuse_none(self) -> NoReturn:
        n = len(self.examples)
        raise DataError(f"{self.examples.info.name}: expected images that can be read. Got none among {n} files.")

    def _keep(self, images: Tensor, targets: Sequence[Any]) -> None:
        self._images, self._targets = images, targets
        if not len(targets):
            return
        first = self.task.collate(targets[:1])
        if isinstance(first, Tensor) and first.ndim == 1:  # one number a sample: no need to collate each batch
            self._labels = self.task.collate(targets).to(self.device)


def _composing(augments: tuple[Augment, ...], placed: Placed | None) -> Composing | None:
    """The augmentation that makes one image of several, if there is one.

    Raises:
        InputError: it does not stand first, or the targets have no place.
    """
    found = [place for place, augment in enumerate(augments) if isinstance(augment, Composing)]
    if not found:
        return None
    first = augments[0]
    if found != [0] or not isinstance(first, Composing):
        raise InputError(f"{augments[found[-1]]!r} must stand first among the augmentations. Got it as number "
                         f"{found[-1] + 1}.")  # fmt: skip
    if placed is None:
        raise InputError(f"{first!r} is for tasks whose targets have a place: boxes, masks, maps.")
    return first


class _Plan:
    """Which samples each batch is made of; a loader with workers asks anew at the start of every epoch."""

    def __init__(self) -> None:
        self.parts: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def _as_it_is(item: Any) -> Any:
    return item


def _move(targets: Any, device: torch.device) -> Any:
    """Every tensor inside lists, tuples and dicts, on the device."""
    if isinstance(targets, Tensor):
        return targets.to(device, non_blocking=True)
    if isinstance(targets, dict):
        return {key: _move(value, device) for key, value in targets.items()}
    if hasattr(targets, "to"):
        return targets.to(device)
    if isinstance(targets, list | tuple):
        return type(targets)(_move(value, device) for value in targets)
    return targets

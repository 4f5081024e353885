"""A training run's batches, and its model with its initial weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from stalwart.core.contracts import Architecture, Examples, Signature, Task
from stalwart.core.errors import InputError
from stalwart.core.rng import generator, seed_of
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.mixed import Mixed
from stalwart.feed.split import Subset
from stalwart.run._parallel import World
from stalwart.run._settings import Training

PREPARED_FROM, PREPARED_BYTES = 5000, 64 * 1024**2
"""Training images that a model's normalisation and whitening are taken from: so many, or what fits."""


def make_batches(
    examples: Examples,
    task: Task,
    settings: Training,
    device: torch.device,
    world: World,
    *,
    train: bool,
    part: int | None = None,
    like: Batches | None = None,
) -> Batches:
    """Shuffled and augmented batches to train on, or plain ones to look at.

    Args:
        part: images in a batch; None for as many as the settings say.
        like: the main data's batches, whose image size and channels extra ones are brought to.
    """
    part = part or settings.batch // settings.accumulate
    size = (settings.size, settings.size) if isinstance(settings.size, int) else settings.size
    return Batches(
        examples,
        task,
        batch=part if train else max(part, 256),
        size=like.size if like is not None else size,
        channels=like.channels if like is not None else None,
        augments=settings.augments if train else (),
        seed=seed_of(settings.seed, "batches" if like is None else "extra") if train else 0,
        shuffle=train,
        drop_last=train and len(examples) >= part,
        workers=settings.workers,
        device=device,
        rank=world.rank,
        world=world.size,
        skip_bad=settings.skip_bad,
        cache=settings.cache,
    )


def make_mixed(
    examples: Examples, task: Task, settings: Training, device: torch.device, world: World
) -> Batches | Mixed:
    """Batches to train on, with the share of extra data that the settings ask for.

    Raises:
        InputError: the extra data have other classes, or too few images for their part of a batch.
    """
    if settings.extra is None:
        return make_batches(examples, task, settings, device, world, train=True)
    more, share = settings.extra.open("train"), settings.extra_images
    if more.info.classes != examples.info.classes:
        raise InputError(
            f"extra data must have the classes of the main data, {_few(examples.info.classes)}. "
            f"Got {_few(more.info.classes)} from {spell(settings.extra)}."
        )
    if len(more) < share:
        raise InputError(f"extra data must have {share} images at least, their part of a batch. Got {len(more)}.")
    part = settings.batch // settings.accumulate
    main = make_batches(examples, task, settings, device, world, train=True, part=part - share)
    return Mixed(main, make_batches(more, task, settings, device, world, train=True, part=share, like=main))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def build(
    architecture: Architecture, signature: Signature, examples: Examples, task: Task, settings: Training
) -> nn.Module:
    """The model on the CPU in training mode, its weights the same for a seed whatever else this process has drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, "weights"))
        model = architecture.build(signature)
    bytes_each = 4 * signature.channels * signature.size[0] * signature.size[1]
    count = max(64, min(PREPARED_FROM, PREPARED_BYTES // bytes_each))
    order = torch.randperm(len(examples), generator=generator(settings.seed, "prepare"))
    few = Subset(examples, order[:count].tolist())
    batches = make_batches(few, task, settings, torch.device("cpu"), World(), train=False)
    images = torch.cat([batch.images for batch in batches.epoch(0)])
    batches.close()
    architecture.prepare(model, images)
    return model.train()

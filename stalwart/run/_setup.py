"""A training run's batches, and its model with its initial weights."""

from __future__ import annotations

import torch
from torch import nn

from stalwart.core.contracts import Architecture, Examples, Signature, Task
from stalwart.core.rng import generator, seed_of
from stalwart.feed.batches import Batches
from stalwart.feed.split import Subset
from stalwart.run._parallel import World
from stalwart.run._settings import Training

PREPARED_FROM, PREPARED_BYTES = 5000, 64 * 1024**2
"""Training images that a model's normalisation and whitening are taken from: so many, or what fits."""


def make_batches(
    examples: Examples, task: Task, settings: Training, device: torch.device, world: World, *, train: bool
) -> Batches:
    """Shuffled and augmented batches to train on, or plain ones to look at."""
    part = settings.batch // settings.accumulate
    return Batches(
        examples,
        task,
        batch=part if train else max(part, 256),
        size=(settings.size, settings.size) if isinstance(settings.size, int) else settings.size,
        augments=settings.augments if train else (),
        seed=seed_of(settings.seed, "batches") if train else 0,
        shuffle=train,
        drop_last=train and len(examples) >= part,
        workers=settings.workers,
        device=device,
        rank=world.rank,
        world=world.size,
        skip_bad=settings.skip_bad,
    )


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

"""Images that a detector ought to let pass or may be asked about: clean, noisy, and from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stalwart.core import balls, catalog
from stalwart.core.contracts import Threat
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise, generator
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.split import Subset, open_splits
from stalwart.run._judge import settle
from stalwart.run._subject import Subject

TILES = 4
"""Shuffled images are cut into so many rows and columns, or as many as their sides can be divided into."""


@dataclass(frozen=True)
class Negatives:
    """Images that nobody attacked."""

    name: str
    """'clean', 'noisy', or what they are."""
    images: Tensor
    """(n, C, H, W) in [0, 1]."""
    says: str
    """What they are, in words."""


def negatives(
    subject: Subject, clean: Tensor, threat: Threat, ood: str | None, seed: int, skip_bad: bool
) -> list[Negatives]:
    """Clean images, the same with noise of the attack's size, and images from out of the distribution.

    Args:
        ood: a data set as spelled, of which as many test images are taken as there are clean ones; None: the clean
            images inverted, and cut into tiles that are shuffled, which is a poor stand-in and said to be one.
    """
    found = [
        Negatives("clean", clean, "test images as they are"),
        Negatives("noisy", noisy(clean, threat, seed), f"the same with random noise at the edge of {spell(threat)}"),
    ]
    if ood is None:
        inverted = Negatives("inverted", 1 - clean, "the same inverted: a stand-in for another data set")
        return [
            *found,
            inverted,
            Negatives("shuffled", shuffled(clean), "the same cut into tiles and shuffled: a stand-in"),
        ]
    source = catalog.make(ood, "data")
    examples = open_splits(source).test
    if len(examples) > len(clean):
        chosen = torch.randperm(len(examples), generator=generator(seed, "ood"))[: len(clean)].sort().values
        examples = Subset(examples, chosen.tolist())
    signature = subject.card["signature"]
    batches = Batches(
        examples, subject.task, batch=256, size=(int(signature["size"][0]), int(signature["size"][1])),
        channels=int(signature["channels"]), device=subject.device, skip_bad=skip_bad,
    )  # fmt: skip
    images = [item.images for item in batches.epoch(0)]
    if not images:
        raise InputError(f"--ood: {ood} has no test images.")
    return [*found, Negatives("ood", torch.cat(images), f"test images of {spell(source)}")]


def noisy(clean: Tensor, threat: Threat, seed: int) -> Tensor:
    """Random points at the threat's edge, rounded to 8 bits as an attack's answers are."""
    begun = threat.start(clean, Noise.of_images(clean, seed).fork("noisy"))
    size = threat.size(begun, clean).clamp_min(1e-12)
    stretched = clean + (begun - clean) * balls.each(threat.epsilon / size, clean)
    return settle(stretched, clean, threat, 8)


def shuffled(images: Tensor) -> Tensor:
    """The images cut into tiles that are put back in another order, the same for all."""
    height, width = images.shape[2:]
    rows = max(n for n in range(1, TILES + 1) if height % n == 0)
    columns = max(n for n in range(1, TILES + 1) if width % n == 0)
    count, channels, high, wide = len(images), images.shape[1], height // rows, width // columns
    tiles = images.reshape(count, channels, rows, high, columns, wide).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    tiles = tiles[:, torch.randperm(rows * columns, generator=generator("tiles")).to(images.device)]
    tiles = tiles.reshape(count, rows, columns, channels, high, wide).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(images.shape)

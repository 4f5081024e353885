"""Noise of the sensor: Gaussian, shot, impulse and speckle noise."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stalwart.core.corruptions.tables import constants
from stalwart.core.rng import Noise


def normal(noise: Noise, shape: Sequence[int]) -> Tensor:
    """(B, *shape) float32, standard normal: `Noise.normal` with both numbers that Box and Muller (1958) make of one
    draw, which halves its price; whole pictures of noise are most of what some kinds cost."""
    count = math.prod(shape)
    radius, angle = noise.pair(((count + 1) // 2,))
    radius = radius.add_(1.0).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angle = angle.mul_(2.0 * math.pi * 2.0**-24)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
    return both[:, :count].reshape(len(both), *shape)


def gaussian_noise(images: Tensor, severity: int, noise: Noise) -> Tensor:
    deviation = constants(images, severity, [0.04, 0.06, 0.08, 0.09, 0.10], [0.08, 0.12, 0.18, 0.26, 0.38])
    return images + deviation * normal(noise, images.shape[1:])


def speckle_noise(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Noise in proportion to the brightness."""
    deviation = constants(images, severity, [0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.35, 0.45, 0.6])
    return images + images * deviation * normal(noise, images.shape[1:])


def impulse_noise(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Salt and pepper: an entry becomes 0 or 1 with the same probability, each channel by itself."""
    amount = constants(images, severity, [0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27])
    drawn = noise.uniform(images.shape[1:])
    salted = torch.where(drawn < amount / 2, torch.ones_like(images), images)
    return torch.where((drawn >= amount / 2) & (drawn < amount), torch.zeros_like(images), salted)


def shot_noise(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Counts of light: Poisson(λ x) / λ."""
    light: float = constants(images, severity, [500, 250, 100, 75, 50], [60, 25, 12, 5, 3])
    return poisson(images, light, noise) / light


LEVELS = 256


def poisson(images: Tensor, light: float, noise: Noise) -> Tensor:
    """Poisson counts of mean `light` · x for x in [0, 1], exactly, by the inverse of the distribution function.

    There is a table for each 8-bit level. Between two levels the counts of the lower one get those of the rest added,
    whose mean is below `light` / 255: sums of independent Poisson counts are Poisson.
    """
    scaled = images * (LEVELS - 1)
    level = (scaled + 1e-3).floor().clamp(0, LEVELS - 1)
    drawn, _ = noise.pair(images.shape[1:])
    counts = _counted(level, drawn, light)
    rest = scaled.sub_(level).clamp_min_(0).mul_(light / (LEVELS - 1))
    if bool((rest > 1e-4 * light).any()):
        counts = counts + _few(rest, noise.uniform(images.shape[1:]))
    return counts


SECTIONS = 1024
"""Equal parts of (0, 1), in most of which each level's distribution function has no step."""


def _counted(level: Tensor, drawn: Tensor, light: float) -> Tensor:
    """The count of each pixel: how many values of its level's distribution function are below what was drawn.

    Args:
        level: whole numbers, 0..255, in float32.
        drawn: likewise, 0..2²⁴ − 1; it stands for the middle of its part of (0, 1).
    """
    table, width, sections = _steps(light)
    section = (drawn * (SECTIONS * 2.0**-24)).floor_().add_(level, alpha=SECTIONS).flatten().int()
    counts = sections.to(level.device).index_select(0, section)
    open_ = (counts < 0).nonzero().flatten()  # in whose section there is a step
    if len(open_):
        row = level.flatten()[open_].double()
        place = torch.searchsorted(
            table.to(level.device), row + (drawn.flatten()[open_].double() * 2.0**-24 + 2.0**-25)
        )
        counts[open_] = (place - row.long() * width).to(counts.dtype)
    return counts.view(level.shape)


@functools.lru_cache(16)
def _steps(light: float) -> tuple[Tensor, int, Tensor]:
    """Tables of the counts of mean `light` · level / 255.

    Returns:
        (levels · width,) float64, ascending: level + P(count ≤ k), below level + 1; row l is shifted by l so that one
        search serves every pixel; the width; and (levels · SECTIONS,) float32: the count in a section, or −1 where
        the section holds a step.
    """
    mean = torch.arange(LEVELS, dtype=torch.float64)[:, None] * (light / (LEVELS - 1))
    width = int(light + 12 * math.sqrt(light) + 12)
    k = torch.arange(width, dtype=torch.float64)
    logs = torch.where(k + mean > 0, k * mean.clamp_min(1e-300).log(), torch.zeros(())) - mean - torch.lgamma(k + 1)
    cumulated = logs.exp().cumsum(1).clamp_max(1 - 1e-12)
    cumulated[:, -1] = 1 - 1e-12
    rows = torch.arange(LEVELS, dtype=torch.float64)[:, None]
    table = (rows + cumulated).flatten()
    edges = torch.arange(SECTIONS, dtype=torch.float64) / SECTIONS
    first, last = rows + edges + 2.0**-25, rows + edges + 1 / SECTIONS - 2.0**-25  # the least and most drawn in each
    low, high = (torch.searchsorted(table, ends) for ends in (first, last))
    return table, width, torch.where(low == high, low - rows.long() * width, -1).float().flatten()


def _few(mean: Tensor, drawn: Tensor) -> Tensor:
    """Poisson counts of small means, term by term."""
    term = (-mean).exp()
    reached, counts = term.clone(), torch.zeros_like(mean)
    for k in range(1, 24):
        counts = counts + (drawn >= reached)
        term = term * mean / k
        reached = reached + term
    return counts

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
    bits = noise.bits(((count + 1) // 2,))
    radius = (-2.0 * (((bits >> 40) & 0xFFFFFF).to(torch.float32) + 1.0).mul_(2.0**-24).log_()).sqrt_()
    angle = ((bits >> 8) & 0xFFFFFF).to(torch.float32).mul_(2.0 * math.pi * 2.0**-24)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
    return both[:, :count].reshape(len(bits), *shape)


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
    table, width = _distribution(light)
    table = table.to(images.device)
    drawn = noise.uniform(images.shape[1:]).double() + 2.0**-25  # in (0, 1)
    # Row l of the table is shifted by l, so that all rows together are ascending and one search serves every pixel.
    place = torch.searchsorted(table.flatten(), (level.double() + drawn).contiguous())
    counts = (place - level.long() * width).to(images.dtype)
    rest = (scaled - level).clamp_min(0) * (light / (LEVELS - 1))
    if bool((rest > 1e-4 * light).any()):
        counts = counts + _few(rest, noise.uniform(images.shape[1:]))
    return counts


@functools.lru_cache(16)
def _distribution(light: float) -> tuple[Tensor, int]:
    """(levels, width) float64: level + P(count ≤ k), below level + 1."""
    mean = torch.arange(LEVELS, dtype=torch.float64)[:, None] * (light / (LEVELS - 1))
    width = int(light + 12 * math.sqrt(light) + 12)
    k = torch.arange(width, dtype=torch.float64)
    logs = torch.where(k + mean > 0, k * mean.clamp_min(1e-300).log(), torch.zeros(())) - mean - torch.lgamma(k + 1)
    cumulated = logs.exp().cumsum(1).clamp_max(1 - 1e-12)
    cumulated[:, -1] = 1 - 1e-12
    return torch.arange(LEVELS, dtype=torch.float64)[:, None] + cumulated, width


def _few(mean: Tensor, drawn: Tensor) -> Tensor:
    """Poisson counts of small means, term by term."""
    term = (-mean).exp()
    reached, counts = term.clone(), torch.zeros_like(mean)
    for k in range(1, 24):
        counts = counts + (drawn >= reached)
        term = term * mean / k
        reached = reached + term
    return counts

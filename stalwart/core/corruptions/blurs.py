"""Blurs: Gaussian, out of focus, frosted glass, motion and zoom."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from stalwart.core.corruptions import filters
from stalwart.core.corruptions.tables import constants
from stalwart.core.rng import Noise


def gaussian_blur(images: Tensor, severity: int, noise: Noise) -> Tensor:
    sigma = constants(images, severity, [0.4, 0.6, 0.7, 0.8, 1.0], [1.0, 2.0, 3.0, 4.0, 6.0])
    return filters.gaussian(images, sigma)


def defocus_blur(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Every point becomes a disc."""
    radius, soft = constants(
        images,
        severity,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)],
        [(3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)],
    )
    kernel = disc(radius, soft)
    middle = len(kernel) // 2
    return filters.filtered(images, kernel[None], "mirror", (middle, middle))


@functools.lru_cache(16)
def disc(radius: float, soft: float) -> Tensor:
    """(k, k) float64: a disc of sum 1, its edge smoothed by a Gaussian of deviation `soft` on 3 or 5 pixels."""
    reach = 8 if radius <= 8 else int(radius)
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    hard = (at.square()[:, None] + at.square() <= radius**2).double()
    hard = hard / hard.sum()
    half = 1 if radius <= 8 else 2
    weights = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=torch.float64) / soft) ** 2)
    small = (weights / weights.sum())[:, None] * (weights / weights.sum())
    kernel = filters.filtered(hard[None, None], small[None], "mirror", (half, half))[0, 0]
    needed = min(math.ceil(radius) + half, reach)  # beyond that there is nothing
    return kernel[reach - needed : reach + needed + 1, reach - needed : reach + needed + 1]


def glass_blur(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Pixels are exchanged with near ones, between two Gaussian blurs.

    The published loop means to swap two pixels, and copies one over the other, as its arrays are views; that is what
    the published images show, so it is done here too.
    """
    sigma, reach, rounds = constants(
        images,
        severity,
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    )
    x = filters.gaussian(images, sigma).mul_(255).add_(1e-4).floor_().div_(255)
    for _ in range(rounds):
        # One number of (2 reach)² serves both offsets, −reach..reach − 1.
        both = noise.integers(4 * reach**2, images.shape[-2:]).float()  # whole numbers divide ten times as slowly
        down = (both / (2 * reach)).floor_()
        right = both - down * (2 * reach)
        x = shuffle(x, down.long() - reach, right.long() - reach, reach)
    return filters.gaussian(x, sigma)


def shuffle(images: Tensor, down: Tensor, right: Tensor, reach: int) -> Tensor:
    """From the last pixel to the first, each takes what stands at its own offset then.

    One pixel after the other in the published loop. Here each pixel points to the one that it takes from: one that
    comes later in the image was changed before it, so its pointer is followed on; one that comes earlier was not.
    Chains are followed by doubling, log₂(H W) times, for the whole batch.

    Args:
        down: (B, H, W) int64 offsets, and `right` too, of −reach..reach.
    """
    count, channels, height, width = images.shape
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    moved_rows = (rows > reach) & (rows <= height - reach)
    moved_columns = (columns > reach) & (columns <= width - reach)
    moves = moved_rows[:, None] & moved_columns  # (H, W): the loops' own ranges
    place = rows[:, None] * width + columns
    target_rows, target_columns = (rows[:, None] + down).clamp(0, height - 1), (columns + right).clamp(0, width - 1)
    points = torch.where(moves, target_rows.mul_(width).add_(target_columns), place)
    # The batch is one row of pixels, image after image. A pointer that has come to its end is kept below zero: what
    # it takes was not changed yet, or never is.
    points += (torch.arange(count, device=images.device) * (height * width)).view(-1, 1, 1)
    points = points.flatten()
    going = (points > torch.arange(len(points), device=images.device)).nonzero().flatten()
    points.neg_().sub_(1)
    points[going] = -1 - points[going]
    for _ in range(math.ceil(math.log2(max(height * width, 2))) + 1):
        if not len(going):
            break
        further = points.index_select(0, points.index_select(0, going))
        points[going] = further
        going = going[further >= 0]
    source = points.neg_().sub_(1).view(count, -1)
    source -= torch.arange(count, device=images.device)[:, None] * (height * width)
    return images.flatten(2).gather(2, source[:, None].expand(-1, channels, -1)).view_as(images)


def motion_blur(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Motion at a random angle within 45° of the horizontal, fading behind."""
    radius, sigma = constants(
        images,
        severity,
        [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)],
        [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)],
    )
    return moved(images, radius, sigma, noise, (-45.0, 45.0))


def moved(images: Tensor, radius: int, sigma: float, noise: Noise, span: tuple[float, float]) -> Tensor:
    """ImageMagick's motion blur: Σ kᵢ · image at i pixels along an angle, k half a Gaussian of 2 · radius + 1 steps.

    Args:
        span: degrees between which each sample's angle is drawn.
    """
    low, high = span
    steps = torch.arange(2 * radius + 1, device=images.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = (weights / weights.sum()).to(images.dtype)
    radians = noise.uniform((), low, high).double() * (math.pi / 180)
    down = (steps * radians.sin()[:, None] - 0.5).ceil().long()  # (B, steps)
    right = (steps * radians.cos()[:, None] - 0.5).ceil().long()
    # The kernel holds every angle of the span, so that its size and the sums' order are the same in every batch.
    angles = [math.radians(low + (high - low) * k / 90) for k in range(91)]
    (up, tall), (left, wide) = (
        (math.ceil(max(0.0, -min(ends)) * 2 * radius) + 1, math.ceil(max(0.0, max(ends)) * 2 * radius) + 1)
        for ends in ([math.sin(a) for a in angles], [math.cos(a) for a in angles])
    )
    tall, wide = up + tall + 1, left + wide + 1
    kernels = torch.zeros(len(images), tall * wide, device=images.device, dtype=images.dtype)
    kernels.scatter_add_(1, (down + up) * wide + right + left, weights.expand(len(images), -1).contiguous())
    return filters.filtered(images, kernels.view(-1, tall, wide), "nearest", (up, left))


def zoom_blur(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """The mean of the image and of enlargements of its middle."""
    most, step = constants(
        images,
        severity,
        [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    )
    factors = [1 + k * step for k in range(math.ceil((most - 1) / step))]  # as numpy.arange counts them
    total = images.clone()
    for factor in factors:
        total += filters.zoomed(images, factor)
    return total / (len(factors) + 1)

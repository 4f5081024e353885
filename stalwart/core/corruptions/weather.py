"""Weather: snow, frost, fog, and water or mud on the lens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core.corruptions import filters
from stalwart.core.corruptions.blurs import moved
from stalwart.core.corruptions.noises import normal
from stalwart.core.corruptions.tables import SMALL, constants
from stalwart.core.rng import Noise


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) the brightness that OpenCV takes for grey."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def tinted(grey: Tensor, like: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """(B, C, H, W) a grey layer (B, 1, H, W) in a colour, or in the colour's brightness for grey images."""
    tint = torch.tensor(colour, device=grey.device, dtype=grey.dtype).view(1, 3, 1, 1)
    return grey * (tint if like.shape[1] == 3 else luma(tint))


def snow(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Flakes are bright spots of noise, enlarged and blurred as they fall; the picture is whitened beneath them."""
    mean, deviation, factor, bar, radius, sigma, keep = constants(
        images,
        severity,
        [
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95), (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
        ],
        [
            (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8), (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7), (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
        ],
    )  # fmt: skip
    height, width = images.shape[-2:]
    layer = normal(noise, (1, height, width)) * deviation + mean
    layer = filters.zoomed(layer, factor)
    layer = torch.where(layer < bar, torch.zeros_like(layer), layer).clamp(0, 1)
    layer = moved((layer * 255).floor() / 255, radius, sigma, noise, (-135.0, -45.0))
    layer = (layer * 255).round() / 255
    white = torch.maximum(images, luma(images) * 1.5 + 0.5)
    return keep * images + (1 - keep) * white + layer + layer.flip(2, 3)


def fog(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """A bright plasma fractal, with the brightest pixel kept where it was."""
    strength, decay = constants(
        images,
        severity,
        [(0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)],
        [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)],
    )
    height, width = images.shape[-2:]
    veil = plasma(1 << (max(height, width, 2) - 1).bit_length(), decay, noise)[:, None, :height, :width]
    most = images.flatten(1).amax(1).view(-1, 1, 1, 1)
    return (images + strength * veil) * most / (most + strength)


def plasma(size: int, decay: float, noise: Noise) -> Tensor:
    """(B, size, size) a height map from 0 to 1 by the diamond-square algorithm, on a torus.

    Args:
        size: a power of two.
        decay: by how much finer scales are flatter.
    """
    heights = torch.zeros(len(noise), size, size, device=noise.keys.device, dtype=torch.float64)
    step, wobble = size, 100.0

    def mean(total: Tensor) -> Tensor:
        drawn = noise.uniform(total.shape[1:], -1.0, 1.0)
        return total / 4 + wobble * wobble * drawn  # the published code scales its noise twice

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        total = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = mean(total + total.roll(-1, 2))
        middles = heights[:, half::step, half::step]
        total = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        heights[:, ::step, half::step] = mean(total)
        total = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        heights[:, half::step, ::step] = mean(total)
        step, wobble = half, wobble / decay
    low = heights.amin((1, 2), keepdim=True)
    return ((heights - low) / (heights - low).amax((1, 2), keepdim=True).clamp_min(1e-12)).float()


def frost(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Ice crystals over the picture.

    The original lays one of six photographs over it. They may not be shipped, so the crystals are made (`crystals`);
    their brightness, contrast and tint spread as those of the photographs do. Figures of this kind are therefore near
    the published ones and not the same.
    """
    keep, ice = constants(
        images,
        severity,
        [(1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        [(1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    )
    return keep * images + ice * crystals(images, noise)


def crystals(images: Tensor, noise: Noise) -> Tensor:
    """(B, C, H, W) in [0, 1]: sharp bright ridges of several widths where smooth noise passes through zero."""
    height, width = images.shape[-2:]
    cells = (12, 6, 3, 2) if min(height, width) < SMALL else (64, 32, 16, 8, 4)
    total = torch.zeros(len(images), 1, height, width, device=images.device, dtype=images.dtype)
    for cell in cells:
        grid = normal(noise, (1, height // cell + 3, width // cell + 3)).to(images.dtype)
        smooth = filters.both(grid, *(filters.cubic(length, cell) for length in grid.shape[-2:]))
        ridge = smooth[..., cell : cell + height, cell : cell + width].abs().neg_().add_(1).clamp_min_(0)
        total += ridge.square_().mul_((cell / cells[0]) ** 0.35)
    total -= total.mean((2, 3), keepdim=True)
    total /= total.square().mean((2, 3), keepdim=True).sqrt().clamp_min(1e-6)
    bright, strong, blue = noise.uniform((3,)).to(images.dtype).unbind(1)
    level = (0.38 + 0.42 * bright).view(-1, 1, 1, 1)
    grey = level + (0.08 + 0.09 * strong).view(-1, 1, 1, 1) * total
    if images.shape[1] == 1:
        return grey.clamp(0, 1)
    tint = torch.tensor([-0.16, 0.03, 0.09], device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (grey + tint * blue.view(-1, 1, 1, 1)).clamp(0, 1)


# ---------------------------------------------------------------- spatter


def spatter(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Drops of water, with bright rims, or splashes of mud."""
    mean, deviation, sigma, bar, strength, mud = constants(
        images,
        severity,
        [
            (0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1.0, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ],
        [
            (0.65, 0.3, 4.0, 0.69, 0.6, 0), (0.65, 0.3, 3.0, 0.68, 0.6, 0), (0.65, 0.3, 2.0, 0.68, 0.5, 0),
            (0.65, 0.3, 1.0, 0.65, 1.5, 1), (0.67, 0.4, 1.0, 0.65, 1.5, 1),
        ],
    )  # fmt: skip
    liquid = normal(noise, (1, *images.shape[-2:])) * deviation + mean
    liquid = filters.gaussian(liquid, sigma)
    liquid = torch.where(liquid < bar, torch.zeros_like(liquid), liquid)
    if mud:
        cover = filters.gaussian((liquid > bar).to(images.dtype), strength)
        cover = torch.where(cover < 0.8, torch.zeros_like(cover), cover)
        return images * (1 - cover) + tinted(cover, images, (63 / 255, 42 / 255, 20 / 255))
    levels = (liquid * 255).clamp(0, 255).floor()
    film = levels * _rims(levels)
    film = film / film.amax((2, 3), keepdim=True).clamp_min(1e-6) * strength
    return images + tinted(film, images, (175 / 255, 238 / 255, 238 / 255)).clamp(0, 1)


def _rims(levels: Tensor) -> Tensor:
    """(B, 1, H, W) of 0..255: how a drop shines, from the distance to its edge; OpenCV's steps one by one."""
    far = _distance(canny(levels, 50.0, 150.0), 20)
    third = torch.full((1, 3, 3), 1 / 9, device=levels.device, dtype=levels.dtype)
    flat = _equalised(filters.filtered(far, third, "mirror", (1, 1)).add(1e-4).floor())
    relief = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]], device=levels.device, dtype=levels.dtype)[None]
    lit = filters.filtered(flat, relief, "mirror", (1, 1)).clamp(0, 255)
    return filters.filtered(lit, third, "mirror", (1, 1)).round()


def canny(levels: Tensor, low: float, high: float) -> Tensor:
    """(B, 1, H, W) bool: the edges of an image of 0..255 after Canny (1986), with OpenCV's norm and thresholds."""
    smooth, slope = [1.0, 2, 1], [-1.0, 0, 1]
    kernel = torch.tensor(smooth)[:, None] * torch.tensor(slope)  # (3, 3)
    dx = filters.filtered(levels, kernel[None].to(levels), "nearest", (1, 1))
    dy = filters.filtered(levels, kernel.T[None].to(levels), "nearest", (1, 1))
    size = dx.abs() + dy.abs()
    padded = F.pad(size, (1, 1, 1, 1))
    height, width = levels.shape[-2:]

    def beside(down: int, right: int) -> Tensor:
        return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    flat, steep = dy.abs() < 0.41421356 * dx.abs(), dy.abs() > 2.41421356 * dx.abs()
    along = dx * dy >= 0
    before = torch.where(
        flat, beside(0, -1), torch.where(steep, beside(-1, 0), torch.where(along, beside(-1, -1), beside(-1, 1)))
    )
    behind = torch.where(
        flat, beside(0, 1), torch.where(steep, beside(1, 0), torch.where(along, beside(1, 1), beside(1, -1)))
    )
    straight = flat | steep
    crest = (size > before) & torch.where(straight, size >= behind, size > behind)
    weak, edges = crest & (size > low), crest & (size > high)
    while True:  # weak edges count where they hang on strong ones
        grown = _around(edges) & weak
        if torch.equal(grown, edges):
            return edges
        edges = grown


def _around(places: Tensor) -> Tensor:
    """(B, 1, H, W) bool: where a pixel or one of its eight neighbours is marked."""
    padded = F.pad(places.to(torch.uint8), (1, 1, 1, 1))
    rows = padded[..., :-2, :] | padded[..., 1:-1, :] | padded[..., 2:, :]
    return (rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]).bool()


def _distance(edges: Tensor, most: int) -> Tensor:
    """(B, 1, H, W) Euclidean distance to the nearest edge, at most so far."""
    far = float(most)
    place = torch.arange(edges.shape[-1], device=edges.device)
    never = 2 * edges.shape[-1] + most
    before = place - torch.where(edges, place, -never).cummax(-1).values  # along rows, to the left and to the right
    behind = torch.where(edges, place, never).flip(-1).cummin(-1).values.flip(-1) - place
    across = torch.minimum(before, behind).clamp_max(most).float()
    squared = F.pad(across.square(), (0, 0, most, most), value=far**2)
    height = edges.shape[-2]
    best = across.square()
    for down in range(1, most + 1):
        above, below = (squared[..., first : first + height, :] for first in (most - down, most + down))
        torch.minimum(best, torch.minimum(above, below).add_(down**2), out=best)
    return best.sqrt()


def _equalised(levels: Tensor) -> Tensor:
    """(B, 1, H, W) of 0..255 whole numbers, each image's histogram evened out as OpenCV does it."""
    flat = levels.long().flatten(1)
    counts = torch.zeros(len(flat), 256, device=levels.device, dtype=torch.float64)
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    first = (counts > 0).long().argmax(1, keepdim=True)
    own = counts.gather(1, first)
    total = flat.shape[1]
    table = ((counts.cumsum(1) - own) * (255 / (total - own).clamp_min(1))).round().clamp(0, 255)
    table = torch.where(own == total, first.double(), table)
    return table.gather(1, flat).view_as(levels).to(levels.dtype)

"""Linear maps on images: borders, Gaussian smoothing and resizing as matrices, large kernels by Fourier transform.

Along one side a filter with any border rule is a matrix, and two matrix products filter a whole batch. Its entries lie
about the diagonal, so that it is taken some rows at a time and only what they reach (`Bands`).
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor


def border(index: Tensor, size: int, rule: str) -> Tensor:
    """The pixel that stands for each index, which may lie outside 0..size−1.

    Args:
        rule: 'nearest' aaa|abcd|ddd, 'mirror' dcb|abcd|cba, or 'reflect' cba|abcd|dcb.
    """
    if rule == "nearest" or size == 1:
        return index.clamp(0, size - 1)
    period = 2 * size if rule == "reflect" else 2 * size - 2
    folded = index.remainder(period)
    return torch.where(folded < size, folded, (period - 1 if rule == "reflect" else period) - folded)


def pad(images: Tensor, top: int, bottom: int, left: int, right: int, rule: str) -> Tensor:
    """(B, C, H + top + bottom, W + left + right), by any amount, however small the image is."""
    height, width = images.shape[-2:]
    rows = border(torch.arange(-top, height + bottom, device=images.device), height, rule)
    columns = border(torch.arange(-left, width + right, device=images.device), width, rule)
    if left or right:  # the middle as it is: to pick single columns is slow
        sides = (images[..., columns[:left]], images, images[..., columns[left + width :]])
        images = torch.cat(sides, -1)
    return images[..., rows, :] if top or bottom else images


Bands = tuple[tuple[int, int, Tensor], ...]
"""Some rows of a matrix after the other: the first column that is not zero, the one after the last, and between them
(rows, columns) float64."""


def banded(matrix: Tensor, rows: int = 32) -> Bands:
    """A matrix (h, H) in bands of so many rows each."""
    bands = []
    for part in torch.split(matrix, rows):
        used = part.ne(0).any(0).nonzero().flatten()
        first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        bands.append((first, end, part[:, first:end].contiguous()))
    return tuple(bands)


def both(images: Tensor, down: Bands, across: Bands) -> Tensor:
    """`down` (h, H) applied to the columns and `across` (w, W) to the rows of (B, C, H, W)."""
    return across_rows(down_columns(images, down), across)


def down_columns(images: Tensor, matrix: Bands) -> Tensor:
    """(B, C, h, W): each column (H,) of the images times the matrix (h, H)."""
    planes = images.flatten(0, 1)
    parts = [part.to(images) @ planes[:, first:end] for first, end, part in matrix]
    return torch.cat(parts, 1).view(*images.shape[:2], -1, images.shape[3])


def across_rows(images: Tensor, matrix: Bands) -> Tensor:
    """(B, C, H, w): each row (W,) of the images times the matrix (w, W)."""
    rows = images.reshape(-1, images.shape[3])
    parts = [rows[:, first:end] @ part.to(images).T for first, end, part in matrix]
    return torch.cat(parts, 1).view(*images.shape[:3], -1)


def gaussian(images: Tensor, sigma: float, rule: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Smoothing as scipy.ndimage.gaussian_filter does it along both sides; the channels stay apart."""
    height, width = images.shape[-2:]
    return both(images, _gaussian(height, sigma, rule, truncate), _gaussian(width, sigma, rule, truncate))


@functools.lru_cache(64)
def _gaussian(size: int, sigma: float, rule: str, truncate: float) -> Bands:
    """Of a matrix (size, size)."""
    radius = int(truncate * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2) if radius else torch.ones(1, dtype=torch.float64)
    sources = border(torch.arange(size)[:, None] + offsets, size, rule)  # (size, 2r + 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return banded(matrix.scatter_add_(1, sources, (weights / weights.sum()).expand(size, -1).contiguous()))


@functools.lru_cache(64)
def cubic(cells: int, size: int) -> Bands:
    """Of a matrix (cells · size, cells): PyTorch's bicubic enlargement by `size`, along one side."""
    points = torch.eye(cells, dtype=torch.float64)[None, None]
    grown = F.interpolate(points, scale_factor=(float(size), 1.0), mode="bicubic", align_corners=False)
    return banded(grown[0, 0])


@functools.lru_cache(64)
def box(source: int, target: int) -> Bands:
    """Of a matrix (target, source): Pillow's box filter from `source` pixels to `target`."""
    scale = source / target
    width = max(scale, 1.0)
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for row in range(target):
        middle = (row + 0.5) * scale
        first, last = max(int(middle - width / 2 + 0.5), 0), min(int(middle + width / 2 + 0.5), source)
        for column in range(first, last):
            at = (column - middle + 0.5) / width
            matrix[row, column] = 1.0 if -0.5 < at <= 0.5 else 0.0
    return banded(matrix / matrix.sum(1, keepdim=True))


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of the images enlarged by `factor`, linearly, its ends on the ends, cut to the images' size."""
    sides = [(size, math.ceil(size / factor)) for size in images.shape[-2:]]
    (top, high), (left, wide) = (((size - kept) // 2, kept) for size, kept in sides)
    grown = (round(high * factor), round(wide * factor))
    kept = images[..., top : top + high, left : left + wide]
    large = F.interpolate(kept, grown, mode="bilinear", align_corners=True)
    height, width = images.shape[-2:]
    if grown[0] < height or grown[1] < width:  # rounding may leave it a pixel short: the last one is drawn out
        large = pad(large, 0, max(height - grown[0], 0), 0, max(width - grown[1], 0), "nearest")
    down, right = (large.shape[-2] - height) // 2, (large.shape[-1] - width) // 2
    return large[..., down : down + height, right : right + width]


def filtered(images: Tensor, kernels: Tensor, rule: str, middle: tuple[int, int]) -> Tensor:
    """Σ kernel[i, j] · image[y + i − middle₀, x + j − middle₁] for each sample's own kernel.

    Args:
        kernels: (B or 1, kh, kw).
        middle: the kernel's entry that meets the pixel itself.
    """
    count, channels, height, width = images.shape
    tall, wide = kernels.shape[-2:]
    up, left = middle
    padded = pad(images, up, tall - 1 - up, left, wide - 1 - left, rule)
    if len(kernels) == 1 and tall * wide <= 25:
        total = torch.zeros_like(images)
        for i, row in enumerate(kernels[0].tolist()):
            for j, weight in enumerate(row):
                if weight:  # a convolution of one channel is no faster than this, entry by entry
                    total.add_(padded[..., i : i + height, j : j + width], alpha=weight)
        return total
    if len(kernels) == 1 and tall * wide <= 81:
        flat = padded.reshape(count * channels, 1, *padded.shape[-2:])
        return F.conv2d(flat, kernels[:, None].to(images)).view(count, channels, height, width)
    size = (_smooth(padded.shape[-2]), _smooth(padded.shape[-1]))
    spectrum = torch.fft.rfft2(padded, size) * torch.fft.rfft2(kernels.to(images), size).conj()[:, None]
    result: Tensor = torch.fft.irfft2(spectrum, size)
    return result[..., :height, :width]


@functools.cache
def _smooth(size: int) -> int:
    """The next number without large prime factors, at which a Fourier transform is fast."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1

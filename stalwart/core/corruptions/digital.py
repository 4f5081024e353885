"""Light, colour, shape and storage: brightness, contrast, saturation, elastic distortion, large pixels, JPEG."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core.corruptions import filters
from stalwart.core.corruptions.tables import SMALL, constants
from stalwart.core.jpeg import compressor
from stalwart.core.rng import Noise


def brightness(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """The value of hue, saturation and value is raised, so all channels by one factor."""
    more = constants(images, severity, [0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5])
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(0, 1)
    return torch.where(value > 0, images * (raised / value.clamp_min(1e-12)), raised)


def saturate(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """The saturation of hue, saturation and value is scaled. A grey pixel's hue is red by convention; a grey image
    stays as it is."""
    factor, more = constants(
        images,
        severity,
        [(0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)],
        [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)],
    )
    if images.shape[1] == 1:
        return images
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - least
    own = spread / value.clamp_min(1e-12)
    wanted = (own * factor + more).clamp(0, 1)
    coloured = value - (value - images) * (wanted / own.clamp_min(1e-12))
    red = torch.cat([value, value * (1 - wanted), value * (1 - wanted)], 1)
    return torch.where(spread > 0, coloured, red)


def contrast(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Each channel is drawn towards its mean."""
    keep = constants(images, severity, [0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05])
    means = images.mean((2, 3), keepdim=True)
    return (images - means) * keep + means


def pixelate(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """Made smaller and large again by Pillow's box filter, which rounds to 8 bits after each pass."""
    share = constants(images, severity, [0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25])
    height, width = images.shape[-2:]
    low, narrow = max(int(height * share), 1), max(int(width * share), 1)
    x = _levels(filters.across_rows(images, filters.box(width, narrow)))
    x = _levels(filters.down_columns(x, filters.box(height, low)))
    # To enlarge by that filter is to take the pixel beneath each middle.
    rows, columns = (
        ((torch.arange(size, device=x.device, dtype=torch.float64) + 0.5) * (less / size)).long()
        for size, less in ((height, low), (width, narrow))
    )
    return x.index_select(-1, columns)[..., rows, :]


def _levels(images: Tensor) -> Tensor:
    """The images to 8 bits, where they are."""
    return images.mul_(255).add_(0.5 + 1e-4).floor_().div_(255)


def jpeg_compression(images: Tensor, severity: int, noise: Noise) -> Tensor:
    quality = constants(images, severity, [80, 65, 58, 50, 40], [25, 18, 15, 10, 7])
    return compressor(quality)(images)


def elastic_transform(images: Tensor, severity: int, noise: Noise) -> Tensor:
    """A random affine map, then smooth random shifts of each pixel.

    The published constants are in pixels of one image size; here they grow with the shorter side.
    """
    height, width = images.shape[-2:]
    large = min(height, width) >= SMALL
    strength, sigma, affine = constants(
        images,
        severity,
        [(0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)],
    )
    side = min(height, width) * (244 / 224 if large else 1.0)  # the published 244 was meant to be 224
    where = _affine(images, affine * side, noise)
    shifts = noise.uniform((2, height, width), -1.0, 1.0).to(images.dtype)
    if strength:
        shifts = filters.gaussian(shifts, sigma * side, "reflect", truncate=3.0) * (strength * side)
    else:
        shifts = torch.zeros_like(shifts)
    warped = _sample(images, where[..., 0], where[..., 1], mirror=True)
    y = torch.arange(height, device=images.device, dtype=images.dtype)[:, None]
    x = torch.arange(width, device=images.device, dtype=images.dtype)
    return _sample(warped, x + shifts[:, 0], y + shifts[:, 1], mirror=False)


def _affine(images: Tensor, reach: float, noise: Noise) -> Tensor:
    """(B, H, W, 2) where each pixel comes from, (x, y), if three points move at random by up to `reach` pixels."""
    height, width = images.shape[-2:]
    middle = torch.tensor([width // 2, height // 2], device=images.device, dtype=torch.float64)
    arm = min(height, width) // 3
    corners = torch.tensor([[arm, arm], [arm, -arm], [-arm, -arm]], device=images.device, dtype=torch.float64)
    before = (middle + corners).expand(len(images), 3, 2)
    after = before + noise.uniform((3, 2), -reach, reach).double()
    ones = torch.ones(len(images), 3, 1, device=images.device, dtype=torch.float64)
    # rows [x', y', 1] · M = [x, y]: the map back, from where a pixel is seen to where it comes from
    back: Tensor = torch.linalg.solve(torch.cat([after, ones], 2), before)  # (B, 3, 2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)], -1).to(back).view(1, -1, 3)
    return (grid @ back).view(len(images), height, width, 2).to(images.dtype)


def _sample(images: Tensor, x: Tensor, y: Tensor, mirror: bool) -> Tensor:
    """The images at (x, y) (B, H, W) in pixels, bilinear; beyond the edge mirrored about the last pixel's middle
    (`mirror`, OpenCV's reflect 101) or about its outer edge (scipy's reflect)."""
    height, width = images.shape[-2:]
    if mirror:
        grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], -1)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=mirror)

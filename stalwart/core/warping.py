"""Resampling batches of images at other places, differentiably, in pixels: non-square images keep their angles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OUTSIDE = {"black": "zeros", "edge": "border", "mirror": "reflection"}
"""What stands beyond an image's edge, and what torch calls it."""


def places(like: Tensor) -> Tensor:
    """(H, W, 2) each pixel's own (x, y), counted from the image's middle, y downwards."""
    height, width = like.shape[-2:]
    y = torch.arange(height, device=like.device, dtype=like.dtype) - (height - 1) / 2
    x = torch.arange(width, device=like.device, dtype=like.dtype) - (width - 1) / 2
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def turn(angle: Tensor) -> Tensor:
    """(B, 2, 2) the rotation by each angle (B,) in radians, from x to y."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)


def sample(images: Tensor, where: Tensor, outside: str) -> Tensor:
    """The images' values (B, C, h, w) at `where` (B, h, w, 2), (x, y) in pixels from the middle; bilinear between.

    Args:
        outside: 'black', 'edge' or 'mirror': what stands beyond the edge.
    """
    height, width = images.shape[-2:]
    half = torch.tensor([width / 2, height / 2], device=images.device, dtype=images.dtype)
    return F.grid_sample(images, where / half, mode="bilinear", padding_mode=OUTSIDE[outside], align_corners=False)

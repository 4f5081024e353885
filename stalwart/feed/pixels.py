"""Moving pixels of whole batches without a loop over samples."""

from __future__ import annotations

import torch
from torch import Tensor


def take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Each sample's own rows and columns: out[b, :, i, j] = images[b, :, rows[b, i], columns[b, j]].

    Args:
        images: (B, C, H, W), channels_last or not; the result has the same layout.
        rows: (B, H') int64 in [0, H).
        columns: (B, W') int64 in [0, W).

    Returns:
        (B, C, H', W')
    """
    b, c, h, w = images.shape
    out_h, out_w = rows.shape[1], columns.shape[1]
    if c > 1 and images.is_contiguous(memory_format=torch.channels_last):
        base = torch.arange(b, device=images.device)[:, None] * h + rows  # (B, H')
        place = (base * w)[:, :, None] + columns[:, None, :]  # (B, H', W')
        pixels = images.permute(0, 2, 3, 1).reshape(b * h * w, c)
        return pixels.index_select(0, place.view(-1)).view(b, out_h, out_w, c).permute(0, 3, 1, 2)
    place = ((rows * w)[:, :, None] + columns[:, None, :]).view(b, 1, -1).expand(b, c, out_h * out_w)
    return images.reshape(b, c, h * w).gather(2, place).view(b, c, out_h, out_w)


def mirror(images: Tensor, flipped: Tensor) -> Tensor:
    """`images` with those at `flipped` (B,) bool mirrored."""
    height, width = images.shape[2:]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    rows = torch.arange(height, device=images.device).expand(len(images), height)
    return take(images, rows, columns)

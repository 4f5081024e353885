"""Places in images: affine maps of whole batches, and what they do to pixels, index masks and boxes.

Places are continuous: x to the right and y downwards in pixels, an image spans [0, width] × [0, height], and the first
pixel's centre is (0.5, 0.5). A placement is an affine map (2, 3) from a place (x, y, 1) in the output to the place in
the input that it shows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

VOID = 255
"""The index of pixels of a mask that are nobody's."""


def affine(
    count: int,
    device: torch.device | str,
    *,
    sx: Tensor | float = 1.0,
    sy: Tensor | float = 1.0,
    dx: Tensor | float = 0.0,
    dy: Tensor | float = 0.0,
) -> Tensor:
    """(count, 2, 3) placements x ← sx · x + dx, y ← sy · y + dy; each number one for all or (count,)."""
    map_ = torch.zeros(count, 2, 3, device=device)
    map_[:, 0, 0], map_[:, 1, 1], map_[:, 0, 2], map_[:, 1, 2] = sx, sy, dx, dy
    return map_


def mirrored(flipped: Tensor, width: int) -> Tensor:
    """(B, 2, 3) placements that mirror those at `flipped` (B,) bool left to right."""
    sign = 1.0 - 2.0 * flipped.float()
    return affine(len(flipped), flipped.device, sx=sign, dx=flipped.float() * width)


def grid(placement: Tensor, size: tuple[int, int], source: tuple[int, int]) -> Tensor:
    """(B, H, W, 2) as `grid_sample` without aligned corners wants it, for outputs of `size` from inputs of `source`."""
    height, width = size
    y = torch.arange(height, device=placement.device, dtype=placement.dtype) + 0.5
    x = torch.arange(width, device=placement.device, dtype=placement.dtype) + 0.5
    at_x = (
        placement[:, 0, 0, None, None] * x
        + placement[:, 0, 1, None, None] * y[:, None]
        + placement[:, 0, 2, None, None]
    )
    at_y = (
        placement[:, 1, 0, None, None] * x
        + placement[:, 1, 1, None, None] * y[:, None]
        + placement[:, 1, 2, None, None]
    )
    return torch.stack([at_x * (2 / source[1]) - 1, at_y * (2 / source[0]) - 1], -1)


def move_images(images: Tensor, placement: Tensor, size: tuple[int, int], outside: float = 0.0) -> Tensor:
    """Images (B, C, H, W) moved, bilinear; `outside` is what comes in at the borders."""
    places = grid(placement, size, (images.shape[2], images.shape[3]))
    moved = F.grid_sample(images - outside, places.to(images.dtype), mode="bilinear", align_corners=False)
    return moved + outside


def move_masks(masks: Tensor, placement: Tensor, size: tuple[int, int], void: int) -> Tensor:
    """Index masks (B, H, W) of any integer type moved to (B, *size), the nearest pixel; `void` comes in at borders."""
    height, width = masks.shape[1:]
    places = grid(placement, size, (height, width))
    column = ((places[..., 0] + 1) * (width / 2)).floor().long()
    row = ((places[..., 1] + 1) * (height / 2)).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    taken = masks.flatten(1).gather(1, place).view(inside.shape)
    return torch.where(inside, taken, torch.full_like(taken, void))


def compose_masks(masks: Tensor, windows: Tensor, void: int) -> Tensor:
    """Index masks (B · m, H, W) of m frames to an image laid together by their windows (B, m, 4): (B, H, W)."""
    own = shown(windows, (masks.shape[1], masks.shape[2]))  # (B, m, H, W)
    frames = masks.view(*windows.shape[:2], *masks.shape[1:])
    whole = torch.full_like(frames[:, 0], void)
    for number in range(frames.shape[1]):
        whole = torch.where(own[:, number], frames[:, number], whole)
    return whole


def shown(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) bool: the pixels within windows (..., 4) of left, top, right and bottom."""
    left, top, right, bottom = (side[..., None] for side in windows.unbind(-1))
    row = torch.arange(size[0], device=windows.device)
    column = torch.arange(size[1], device=windows.device)
    across, down = (column >= left) & (column < right), (row >= top) & (row < bottom)
    return down[..., :, None] & across[..., None, :]


def move_shared(masks: Tensor, placement: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (n, H, W) bool of one image moved by its one map (2, 3) to (n, *size), the nearest pixel."""
    height, width = masks.shape[1:]
    index = torch.arange(height * width, device=masks.device).view(1, height, width)
    at = move_masks(index, placement[None].to(masks.device), size, -1)[0]  # (*size) the pixel that is shown
    return masks.flatten(1)[:, at.clamp_min(0)] & (at >= 0)


def move_boxes(boxes: Tensor, placement: Tensor) -> Tensor:
    """Boxes (B, N, 4) as (left, top, right, bottom): the least upright ones around the moved corners. Not clipped."""
    inverse = invert(placement)
    left, top, right, bottom = boxes.unbind(-1)
    corners = torch.stack(
        [torch.stack([left, right, right, left], -1), torch.stack([top, top, bottom, bottom], -1)], -2
    )  # (B, N, 2, 4)
    moved = torch.einsum("bij,bnjk->bnik", inverse[:, :, :2], corners) + inverse[:, None, :, 2:]
    return torch.cat([moved.amin(-1), moved.amax(-1)], -1)


def invert(placement: Tensor) -> Tensor:
    """(B, 2, 3) the maps from the input to the output."""
    turn = torch.linalg.inv(placement[:, :, :2])
    return torch.cat([turn, -turn @ placement[:, :, 2:]], -1)


def letterbox(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of where a whole image of size `source` comes to lie in the middle of `size`."""
    scale = max(source[0] / size[0], source[1] / size[1])
    height, width = (max(1, min(whole, round(side / scale))) for side, whole in zip(source, size, strict=True))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def fitted(source: tuple[int, int], size: tuple[int, int], whole: bool = False) -> Tensor:
    """(2, 3) the placement of `feed.decode.fit`: the largest middle part of the proportions of `size`, resized; or the
    whole image, with a border."""
    if whole:
        top, left, height, width = letterbox(source, size)
        sx, sy = source[1] / width, source[0] / height
        return torch.tensor([[sx, 0.0, -left * sx], [0.0, sy, -top * sy]])
    scale = min(source[0] / size[0], source[1] / size[1])
    dx, dy = (source[1] - size[1] * scale) / 2, (source[0] - size[0] * scale) / 2
    return torch.tensor([[scale, 0.0, dx], [0.0, scale, dy]])

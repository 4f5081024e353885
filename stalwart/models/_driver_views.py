"""How a driver's pictures and echoes come onto the ground: fixed sampling for the camera, soft pillars for the LiDAR.

The camera's pitch is zero and its horizon known, so each cell of a bird's-eye grid is seen at one place of the picture,
or at none: inverse perspective (Mallot et al., "Inverse perspective mapping simplifies optical flow computation and
obstacle detection", Biological Cybernetics 64, 1991). Sampling at a second height sees what stands there, as in
"Simple-BEV" (Harley et al., ICRA 2023).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stalwart.drive.birdseye import Grid
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar

_NEAR_M = 0.5
_LOW_M, _HIGH_M, _EDGE_M = 0.35, 3.0, 0.08


class Onto(nn.Module):
    """Features of a picture, sampled where the middles of a grid's cells appear at a height above the ground."""

    places: Tensor
    seen: Tensor

    def __init__(self, camera: Camera, grid: Grid, height_m: float) -> None:
        super().__init__()
        ahead, left = grid.middles[..., 0], grid.middles[..., 1]
        row, column, depth = camera.project(ahead, left, np.full_like(ahead, height_m))
        x, y = (2 * column + 1) / camera.width - 1, (2 * row + 1) / camera.height - 1
        inside = (depth > _NEAR_M) & (np.abs(x) <= 1) & (np.abs(y) <= 1)
        places = np.where(inside[..., None], np.stack([x, y], -1), -2.0)
        self.register_buffer("places", torch.from_numpy(places).float(), persistent=False)
        self.register_buffer("seen", torch.from_numpy(inside).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(W, C, h, w) of the picture's features to (W, C, rows, columns); 0 where a cell is not seen."""
        places = self.places.expand(len(features), -1, -1, -1)
        return self.seen * F.grid_sample(features, places, padding_mode="zeros", align_corners=False)


class Pillars(nn.Module):
    """What a LiDAR's echoes say of each cell, softly, so that it can be differentiated in the ranges.

    A cell looks along a few columns of the range image that cross it. Each echo counts there by exp(−(its way along the
    ground − the cell's)² / cell²).
    """

    CHANNELS = 4
    """Evidence of bodies, of ground, how bright the ground is, how far behind the cell's middle the bodies are."""
    columns: Tensor
    ways: Tensor
    flat: Tensor
    rise: Tensor

    def __init__(self, lidar: Lidar, grid: Grid) -> None:
        super().__init__()
        self.lidar, self.cell_m = lidar, grid.cell_m
        self.shape = (grid.rows, grid.columns)
        at = grid.middles.reshape(-1, 2).astype(np.float64) - (lidar.x_m, lidar.y_m)
        way, angle = np.hypot(*at.T), np.arctan2(at[:, 1], at[:, 0]) - math.radians(lidar.yaw_deg)
        aside = np.array([-0.25, 0.25])[:, None] * grid.cell_m / np.maximum(way, 1.0)
        azimuths = lidar.fan.azimuths.astype(np.float64)
        turned = (angle + aside)[..., None] - azimuths
        nearest = np.abs((turned + math.pi) % (2 * math.pi) - math.pi).argmin(-1)
        self.register_buffer("columns", torch.from_numpy(nearest.reshape(-1)), persistent=False)
        self.register_buffer("ways", torch.from_numpy(way).float(), persistent=False)
        slopes = torch.from_numpy(lidar.fan.slopes.astype(np.float32))[:, None]
        flat = 1 / (1 + slopes**2).sqrt()
        self.register_buffer("flat", flat * lidar.greatest_m, persistent=False)
        self.register_buffer("rise", flat * slopes * lidar.greatest_m, persistent=False)

    def forward(self, echoes: Tensor) -> Tensor:
        """`Sensed.lidar` (W, 3, channels, azimuths) to (W, 4, rows, columns)."""
        way, height = echoes[:, 0] * self.flat, echoes[:, 0] * self.rise + self.lidar.z_m
        hit = echoes[:, 2]
        body = torch.sigmoid((height - _LOW_M) / _EDGE_M)
        ground = hit * (1 - body)
        body = hit * body * torch.sigmoid((_HIGH_M - height) / _EDGE_M)
        # A column of the range image lies together, so that cells copy whole columns.
        maps = torch.stack([way, body, ground, ground * echoes[:, 1]], 1).permute(0, 3, 1, 2).contiguous()
        mine = maps.index_select(1, self.columns).reshape(
            len(maps), 2, -1, *maps.shape[2:]
        )  # (W, 2, cells, 4, channels)
        off = (mine[..., 0, :] - self.ways[:, None]) / self.cell_m
        near = torch.exp(-(off**2))
        bodies = mine[..., 1, :] * near
        parts = (bodies, mine[..., 2, :] * near, mine[..., 3, :] * near, bodies * off)
        found = torch.stack([part.sum((1, 3)) for part in parts], 1)
        strong, grounds = found[:, :1], found[:, 1:2]
        beyond, bright = found[:, 3:] / (strong + 0.3), found[:, 2:3] / (grounds + 0.3)
        return torch.cat([torch.log1p(strong), torch.log1p(grounds), bright, beyond], 1).reshape(-1, 4, *self.shape)


def warped(maps: Tensor, grid: Grid, ahead_m: Tensor, turn_rad: Tensor) -> Tensor:
    """Maps (W, C, rows, columns) of a step ago as they lie now that the driver has gone (W,) ahead and turned left."""
    c, s = torch.cos(turn_rad), torch.sin(turn_rad)
    middles = torch.from_numpy(grid.middles).to(maps)
    x, y = middles[..., 0], middles[..., 1]
    c, s, gone = (v[:, None, None] for v in (c, s, ahead_m))
    before_x, before_y = gone + c * x - s * y, s * x + c * y
    span = grid.ahead_m + grid.behind_m
    row, column = 2 * (before_x + grid.behind_m) / span - 1, before_y / grid.aside_m
    return F.grid_sample(maps, torch.stack([column, row], -1), padding_mode="zeros", align_corners=False)


def near_route(points: Tensor, grid: Grid, width_m: float = 1.5) -> Tensor:
    """(W, rows, columns) how near each cell is to the line through the points (W, n, 2): exp(−(distance / width)²)."""
    middles = torch.from_numpy(grid.middles).to(points).reshape(-1, 1, 2)
    start, step = points[:, None, :-1], (points[:, None, 1:] - points[:, None, :-1])  # (W, 1, n − 1, 2)
    square = (step**2).sum(-1).clamp(min=1e-3)
    share = (((middles - start) * step).sum(-1) / square).clamp(0, 1)
    away = ((middles - start - share[..., None] * step) ** 2).sum(-1).amin(-1)
    return torch.exp(-away / width_m**2).reshape(-1, grid.rows, grid.columns)

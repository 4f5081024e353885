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


class Glances(nn.Module):
    """A few places of a picture, each chosen by a softmax over all of them: what is there, where, and how surely.

    A traffic light is two pixels somewhere in a picture. What is found by its looks, wherever it is, need not be
    learned anew for each place (soft attention over places: Levine et al., "End-to-end training of deep visuomotor
    policies", Journal of Machine Learning Research 17, 2016).
    """

    places: Tensor

    def __init__(self, channels: int, count: int, height: int, width: int) -> None:
        super().__init__()
        self.outputs = count * (channels + 3)
        row, column = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        places = np.stack([row, column, row**2, column**2]).reshape(4, -1)
        self.register_buffer("places", torch.from_numpy(places).float(), persistent=False)
        self.looks = nn.Conv1d(channels, count, 1)
        self.prior = nn.Linear(4, count, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(W, C, height, width) → (W, count · (C + 3)): what, row and column in [−1, 1], log-sum-exp of the scores."""
        flat = features.flatten(2)
        scores = self.looks(flat) + self.prior(self.places.T).T
        chosen = scores.softmax(2)
        what, where = chosen @ flat.transpose(1, 2), chosen @ self.places[:2].T
        return torch.cat([what, where, scores.logsumexp(2, keepdim=True) / 5], 2).flatten(1)


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
        self.register_buffer("ways", torch.from_numpy(way / grid.cell_m).float(), persistent=False)
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
        maps = torch.stack([way / self.cell_m, body, ground, ground * echoes[:, 1]], 1).permute(0, 3, 1, 2).contiguous()
        mine = maps.index_select(1, self.columns).reshape(
            len(maps), 2, -1, *maps.shape[2:]
        )  # (W, 2, cells, 4, channels)
        off = mine[..., 0, :] - self.ways[:, None]
        near = torch.exp(-(off * off))
        sums = mine[..., 1:, :] @ torch.stack([near, near * off], -1)  # (W, 2, cells, 3, 2)
        found = sums.sum(1).flatten(2)[..., [0, 2, 4, 1]].transpose(1, 2)
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
    # Products of cells and segments as matrix products: |m − s − t d|² = |m − s|² − 2 t (m − s)·d + t² |d|².
    middles = torch.from_numpy(grid.middles).to(points).reshape(-1, 2)
    start, step = points[:, :-1], points[:, 1:] - points[:, :-1]  # (W, n − 1, 2)
    square = (step**2).sum(-1, keepdim=True)
    along = step @ middles.T - (start * step).sum(-1, keepdim=True)  # (W, n − 1, cells)
    share = (along / square.clamp(min=1e-3)).clamp(0, 1)
    offset = (middles**2).sum(-1) - 2 * (start @ middles.T) + (start**2).sum(-1, keepdim=True)
    away = (offset + share * (share * square - 2 * along)).amin(1).clamp(min=0)
    return torch.exp(-away / width_m**2).reshape(-1, grid.rows, grid.columns)

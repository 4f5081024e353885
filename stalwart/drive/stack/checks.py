"""What a driver may doubt: echoes that physics forbids, echoes that are missing, pictures that do not bear
smoothing."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.stack.corridor import HALF_WIDTH_M, along
from stalwart.drive.stack.stixels import BINS, FARTHEST_M

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
LOWEST_M, HIGHEST_M = 0.35, 2.4
"""Echoes between these heights are bodies; lower ones are ground, higher ones bridges and leaves."""
_THROUGH, _FREE_M = 0.3, 3.0
_SURE_M = 22.0
_CHECKED_M, _CLOSE_M, _AGREE, _AGREE_M = 45.0, 5.0, 0.35, 4.0
LIMITS = {"consistency": 0.0, "physics": 0.12, "input": 1.5}
"""From where on a guard is in doubt where nothing was calibrated: braking [m/s²] that one sensor wants alone
(`disagreement`), share of missing ground echoes (`hole`), change under smoothing (`unsteady`)."""


def standing(points: Floats, range_m: Floats) -> Flags:
    """(W, C, A) echoes of something that stands on the road, from points (W, C, A, 3) in the car's frame."""
    return (range_m > 0) & (points[..., 2] > LOWEST_M) & (points[..., 2] < HIGHEST_M) & (points[..., 0] > 0)


def seen_through(points: Floats, range_m: Floats, lidar: Lidar) -> Flags:
    """(W, C, A) echoes whose column lets other rays through where a body would stop them: phantoms.

    The free-space and laser-penetration tests of Sun et al., "Towards robust LiDAR-based perception in autonomous
    driving" (USENIX Security 2020), for single columns of rays: a body that stands on the road stops every ray that
    would pass it between its foot and its echo. Where more than 30 % of these are heard 3 m or more behind it, it is
    no body.
    """
    flat = np.hypot(points[..., 0] - lidar.x_m, points[..., 1] - lidar.y_m)
    slopes = lidar.fan.slopes.astype(np.float64)[:, None]
    phantom = np.zeros(range_m.shape, np.bool_)
    body = standing(points, range_m)
    for c in range(range_m.shape[1]):  # against the echo of channel c: all rays of its column
        here = body[:, c]
        if not here.any():
            continue
        at = flat[:, c][:, None]  # (W, 1, A)
        height = lidar.z_m + at * slopes  # (W, C, A) of each ray where the echo stands
        blocked = (height > 0.15) & (height <= points[:, c, :, 2][:, None] + 1e-6)
        blocked[:, c] = False
        past = blocked & (range_m > 0) & (flat > at + _FREE_M)
        count = blocked.sum(1)
        phantom[:, c] = here & (count > 0) & (past.sum(1) > _THROUGH * count)
    return phantom


def hole(range_m: Floats, lidar: Lidar, path: Floats) -> NDArray[np.floating]:
    """(W,) share of the rays towards the corridor's ground within 22 m that are not heard at all.

    Dry ground answers so near; who takes echoes away (Cao et al., "You can't see me: physical removal attacks on
    LiDAR-based autonomous vehicles driving frameworks", USENIX Security 2023) leaves a hole.
    """
    slopes = lidar.fan.slopes.astype(np.float64)
    meets = np.where(slopes < 0, lidar.z_m / np.maximum(-slopes, 1e-9), np.inf)
    rows = meets < _SURE_M
    azimuths = lidar.fan.azimuths + math.radians(lidar.yaw_deg)
    x = lidar.x_m + meets[rows, None] * np.cos(azimuths)
    y = lidar.y_m + meets[rows, None] * np.sin(azimuths)
    spots = np.stack([x, y], -1).reshape(1, -1, 2).repeat(len(path), 0)
    s, away = along(path, spots)
    wanted = (away < HALF_WIDTH_M) & (s > 2.0) & (spots[..., 0] > 0)
    missing = (range_m[:, rows] <= 0).reshape(len(path), -1) & wanted
    share: NDArray[np.floating] = missing.sum(1) / np.maximum(wanted.sum(1), 1)
    return share


def disagreement(camera: Floats, lidar: Floats, speed_mps: Floats) -> NDArray[np.floating]:
    """(W,) m/s² of braking that is wanted if the nearer of two gaps (W,) [m] is the true one, v² / (2 gap), where the
    other sensor has nothing about there; 0 where they agree, or have nothing from 5 to 45 m.

    What matters little, such as a car at the limit of a LiDAR's sight, so counts little. What is nearer than 5 m, such
    as who cuts in beside the bumper, is not in both sensors' fields of view.
    """
    near, other = np.minimum(camera, lidar), np.maximum(camera, lidar)
    checked = (near > _CLOSE_M) & (near < min(_CHECKED_M, FARTHEST_M))
    apart = checked & (other > near * (1 + _AGREE) + _AGREE_M)
    return np.asarray(np.where(apart, speed_mps**2 / (2 * np.maximum(near, _CLOSE_M)), 0.0))


def smoothed(images: Tensor) -> Tensor:
    """(B, 3, H, W) the median of each 3 × 3 pixels; differentiable where the median is a single pixel.

    With each column of three in order, the median of the nine is the median of the greatest of the least, the median of
    the middle ones, and the least of the greatest (Smith, "Implementing median filters in XC4000E FPGAs", 1996).
    """
    height, width = images.shape[-2:]
    around = F.pad(images, (1, 1, 1, 1), mode="replicate")
    low, middle, high = _in_order(*(around[..., i : i + height, :] for i in range(3)))
    lows, middles, highs = ([part[..., j : j + width] for j in range(3)] for part in (low, middle, high))
    greatest, least = _in_order(*lows)[2], _in_order(*highs)[0]
    return _in_order(greatest, _in_order(*middles)[1], least)[1]


def _in_order(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each three numbers the least, the middle and the greatest."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


def unsteady(model: nn.Module, images: Tensor) -> Tensor:
    """(B,) how much perception changes under smoothing, in [0, 2]: the largest of `changes`."""
    return changes(model, images).amax(-1)


def changes(model: nn.Module, images: Tensor) -> Tensor:
    """(B, columns − 2) how much perception changes under smoothing: the L1 distance of a column's shares, the mean of
    three columns, in [0, 2].

    Feature squeezing (Xu, Evans and Qi, NDSS 2018), with the spatial median of their section III-B and the L1
    distance of equation 4. Ranges within three classes of each other are not told apart: shares are summed over
    three first.
    """

    def shares(x: Tensor) -> Tensor:
        near = model(x).softmax(-1)
        three = F.avg_pool1d(near[..., :BINS], 3) * 3
        return torch.cat([three, near[..., BINS:]], -1)

    apart: Tensor = (shares(images) - shares(smoothed(images))).abs().sum(-1)
    return F.avg_pool1d(apart[:, None], 3, 1)[:, 0]

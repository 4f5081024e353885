"""Perception in columns: how far the nearest body is in each column of a picture.

Badino, Franke and Pfeiffer, "The stixel world" (DAGM 2009) describe traffic by upright sticks with a distance each;
here a small net tells the distance in each column of pixels as a class of range.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.drive.scene import Class
from stalwart.drive.sensors.camera import Camera, Frames

NEAREST_M, FARTHEST_M, BINS = 2.0, 75.0, 18
EDGES_M = np.geomspace(NEAREST_M, FARTHEST_M, BINS + 1)
"""Each range's ends: a body at 2 m and one at 60 m are told to the same share of their distance."""
_MIDDLES = torch.from_numpy(np.log(np.sqrt(EDGES_M[1:] * EDGES_M[:-1])).astype(np.float32))
ACROSS = 2
"""Pixels of a column."""
_FIRST, _LAST = int(Class.CAR), int(Class.OBSTACLE)


def targets(frames: Frames) -> NDArray[np.int64]:
    """(W, columns) the class of each column: the range of the nearest body in it, `BINS` where there is none."""
    body = (frames.kind >= _FIRST) & (frames.kind <= _LAST)
    depth = np.where(body, frames.depth_m, np.inf).min(1)
    depth = depth.reshape(len(depth), -1, ACROSS).min(-1)
    found = np.clip(np.searchsorted(EDGES_M, depth, side="right") - 1, 0, BINS - 1)
    return np.where(depth < FARTHEST_M, found, BINS)


class Stixels(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] to logits (B, columns, BINS + 1), the last for "no body".

    Args:
        width: channels of the first layer.
        height: of the pictures in pixels, a multiple of 16.

    Raises:
        ValueError: another height.
    """

    def __init__(self, width: int = 16, height: int = 48) -> None:
        super().__init__()
        if height % 16:
            raise ValueError(f"height must be a multiple of 16. Got {height}.")

        def layer(before: int, after: int, kernel: int, stride: tuple[int, int]) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )

        self.trunk = nn.Sequential(
            layer(3, width, 5, (2, 2)), layer(width, 2 * width, 3, (2, 1)), layer(2 * width, 2 * width, 3, (2, 1)),
            layer(2 * width, 2 * width, 3, (2, 1)),
        )  # fmt: skip
        tall = 2 * width * (height // 16)
        self.head = nn.Sequential(
            nn.Conv1d(tall, 4 * width, 5, padding=2, bias=False), nn.BatchNorm1d(4 * width), nn.ReLU(),
            nn.Conv1d(4 * width, BINS + 1, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.trunk(images * 2 - 1).flatten(1, 2))
        return found.transpose(1, 2)


def body_odds(logits: Tensor) -> Tensor:
    """(..., columns) log-odds that there is a body: above 0 it is seen."""
    return logits[..., :BINS].logsumexp(-1) - logits[..., BINS]


def ranges(logits: Tensor) -> Tensor:
    """(..., columns) metres along the camera's axis to the nearest body, by the mean of its logarithm; infinity where
    none is seen."""
    near = logits[..., :BINS].softmax(-1)
    metres = (near * _MIDDLES.to(logits)).sum(-1).exp()
    return torch.where(body_odds(logits) > 0, metres, torch.inf)


def places(depth_m: NDArray[np.floating], camera: Camera) -> NDArray[np.floating]:
    """(..., columns, 2) where the columns' bodies are in the car's frame (ahead, left), for a camera that looks
    ahead."""
    columns = depth_m.shape[-1]
    middle = (np.arange(columns) + 0.5) * (camera.width / columns)
    slope = (camera.width / 2 - middle) / camera.focal_px
    far = np.where(np.isfinite(depth_m), depth_m, 1e6)
    return np.stack([far + camera.x_m, far * slope + camera.y_m], -1)

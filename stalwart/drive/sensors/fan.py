"""The rays of a sensor: columns that run along the ground and rows that rise by a slope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fan:
    """Ray (v, u) leaves the eye along (columns[0, u], columns[1, u], slopes[v]): forward, left, up.

    A depth counts lengths of the column's vector: for a camera metres along its axis, for a LiDAR metres over ground.
    """

    columns: Doubles
    """(2, W) forward and left of each column."""
    steps: Doubles
    """(2, W) by how much `columns` changes from one column to the next."""
    azimuths: Doubles
    """(W,) rad, to the left."""
    slopes: NDArray[np.float32]
    """(H,) falling from row to row."""
    lens: Doubles
    """(4,) 1 where columns are evenly spaced in tangent or 0 in angle, the column of azimuth 0, columns for each unit
    of tangent or rad, and columns in a full turn."""

    @cached_property
    def singles(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`columns` and `steps` in float32, as the kernels take them."""
        return self.columns.astype(np.float32), self.steps.astype(np.float32)

    @property
    def slope_step(self) -> float:
        """The mean slope from one row to the next."""
        return float(self.slopes[0] - self.slopes[-1]) / max(1, len(self.slopes) - 1)


def planar(height: int, width: int, fov_rad: float, horizon: float) -> Fan:
    """A pinhole camera with square pixels whose image plane stands upright.

    Args:
        fov_rad: horizontal field of view, below pi.
        horizon: where the horizon lies, as a share of the height from the top; lens shift moves it, and not pitch.
    """
    focal, middle = width / 2 / math.tan(fov_rad / 2), (width - 1) / 2
    tangents = (middle - np.arange(width)) / focal
    columns = np.stack([np.ones(width), tangents])
    steps = np.stack([np.zeros(width), np.full(width, -1 / focal)])
    slopes = (horizon * height - 0.5 - np.arange(height)) / focal
    lens = np.array([1.0, middle, focal, 1e9])
    return Fan(columns, steps, np.arctan(tangents), slopes.astype(np.float32), lens)


def spinning(elevations_rad: Doubles, azimuths: int) -> Fan:
    """A full turn, from behind over the left and the front; elevations fall from channel to channel."""
    middle, scale = (azimuths - 1) / 2, azimuths / (2 * math.pi)
    angles = (middle - np.arange(azimuths)) / scale
    columns = np.stack([np.cos(angles), np.sin(angles)])
    steps = np.stack([np.sin(angles), -np.cos(angles)]) / scale
    lens = np.array([0.0, middle, scale, float(azimuths)])
    return Fan(columns, steps, angles.astype(np.float64), np.tan(elevations_rad).astype(np.float32), lens)

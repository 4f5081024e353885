"""The world around a driver from above, in its own frame: the truth that perception is trained on and measured by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.compiled import free_kernel, single
from stalwart.drive.geometry.tables import BROAD_M, Tables
from stalwart.drive.observation import DRIVABLE
from stalwart.drive.routes import route_ahead
from stalwart.drive.simulation import Worlds
from stalwart.drive.threads import share
from stalwart.drive.world.state import (
    ALIVE,
    LENGTH_M,
    MAP,
    ROUTE_AT,
    SPEED_MPS,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Floats,
    Ints,
    Words,
)  # fmt: skip

SIGNALS = ("none", "green", "yellow", "red", "stop", "yield")
"""What rules at the next stop line on the route, if it is near enough."""
FARTHEST_M = 40.0
"""How far a stop line may be to be told of."""
_ROUTE_STEP_M = 0.5
_HALF = single(0.5)


@dataclass(frozen=True)
class Grid:
    """Square cells around a driver. Row 0 lies farthest behind, column 0 farthest to the right.

    Raises:
        InputError: a length that is no multiple of a cell, or no cells.
    """

    ahead_m: float = 40.0
    behind_m: float = 8.0
    aside_m: float = 16.0
    """To either side."""
    cell_m: float = 1.0

    def __post_init__(self) -> None:
        counts = [
            side / self.cell_m if self.cell_m > 0 else 0.0 for side in (self.ahead_m, self.behind_m, self.aside_m)
        ]
        if any(count < 1 or count != round(count) for count in counts):
            raise InputError(f"grid: sides must be multiples of cell_m, one cell or more. Got {self}.")

    @property
    def rows(self) -> int:
        return round((self.ahead_m + self.behind_m) / self.cell_m)

    @property
    def columns(self) -> int:
        return round(2 * self.aside_m / self.cell_m)

    @cached_property
    def middles(self) -> NDArray[np.float32]:
        """(rows, columns, 2) the cells' middles: ahead, left [m]."""
        ahead = (np.arange(self.rows) + 0.5) * self.cell_m - self.behind_m
        left = (np.arange(self.columns) + 0.5) * self.cell_m - self.aside_m
        return np.stack(np.meshgrid(ahead, left, indexing="ij"), -1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Truth:
    """What there is around the first driver of each world, whether or not its sensors can see it."""

    drivable: NDArray[np.bool_]
    """(W, rows, columns) road, shoulder, parking strip or paint at the cell's middle."""
    agents: NDArray[np.bool_]
    """(W, rows, columns) the cell's middle lies under another body that moves or may, or its cell holds such a body's
    middle."""
    velocity: Floats
    """(W, 2, rows, columns) over ground, ahead and left in the driver's frame [m/s], where `agents`; else 0."""
    route: NDArray[np.bool_]
    """(W, rows, columns) within half a lane's width of the route, from 10 m behind to 60 m ahead."""
    signal: NDArray[np.int64]
    """(W,) index in `SIGNALS`: what rules at the next stop line, where that is at most 40 m away; else 0."""
    line_m: Floats
    """(W,) way to that line; 40 where there is none."""


def truth(world: Worlds, grid: Grid, seen: Floats | None = None) -> Truth:
    """The truth now.

    Args:
        seen: what `world.observe()` gives now, if it has been asked for already.
    """
    s, count = world.state, world.worlds
    shape = (count, grid.rows, grid.columns)
    drivable, agents, route = (np.zeros(shape, np.bool_) for _ in range(3))
    velocity = np.zeros((count, 2, grid.rows, grid.columns), np.float32)
    at = np.arange(-10.0, 60.0, _ROUTE_STEP_M, dtype=np.float32)
    points = route_ahead(world.tables, s.floats, s.ints, s.route, np.tile(at, (count, 1)))
    sides = np.array([grid.behind_m, grid.aside_m, grid.cell_m], np.float32)
    share(
        partial(
            _paint, world.tables, s.floats, s.ints, s.words, s.route, points, world.ground.raster,
            world.ground.origin_m, single(world.ground.metres_per_pixel), sides, drivable, agents, velocity, route,
        ),
        count,
    )  # fmt: skip
    vector = (world.observe() if seen is None else seen)[:, 0]
    way, shown = vector[:, 22], vector[:, 23:28]
    rules = (shown.max(1) > 0) & (way <= FARTHEST_M)
    signal = np.where(rules, 1 + shown.argmax(1), 0).astype(np.int64)
    return Truth(drivable, agents, velocity, route, signal, np.where(rules, way, FARTHEST_M).astype(np.float32))


@free_kernel
def _paint(
    t: Tables, floats: Floats, ints: Ints, words: Words, routes: Ints, points: Floats, raster: NDArray[np.uint8],
    origin: Floats, metres_per_pixel: float, sides: Floats, drivable: NDArray[np.bool_], agents: NDArray[np.bool_],
    velocity: Floats, route: NDArray[np.bool_], first: int, last: int,
) -> None:  # fmt: skip
    rows, columns = drivable.shape[1], drivable.shape[2]
    behind, aside, cell = sides[0], sides[1], sides[2]
    for w in range(first, last):
        f, m = floats[w], int(words[w, MAP])
        x, y, cosine, sine = f[X_M, 0], f[Y_M, 0], math.cos(f[YAW_RAD, 0]), math.sin(f[YAW_RAD, 0])
        for i in range(rows):
            for j in range(columns):
                ahead, left = (i + _HALF) * cell - behind, (j + _HALF) * cell - aside
                column = math.floor((x + cosine * ahead - sine * left - origin[m, 0]) / metres_per_pixel)
                row = math.floor((y + sine * ahead + cosine * left - origin[m, 1]) / metres_per_pixel)
                if 0 <= row < raster.shape[1] and 0 <= column < raster.shape[2]:
                    drivable[w, i, j] = DRIVABLE[raster[m, row, column]]
        for a in range(1, f.shape[1]):
            if not ints[w, ALIVE, a]:
                continue
            dx, dy = f[X_M, a] - x, f[Y_M, a] - y
            ahead, left = dx * cosine + dy * sine, dy * cosine - dx * sine
            turn = f[YAW_RAD, a] - f[YAW_RAD, 0]
            c, s = math.cos(turn), math.sin(turn)
            long, broad = _HALF * f[LENGTH_M, a], _HALF * f[WIDTH_M, a]
            reach = long + broad
            at_i, at_j = math.floor((ahead + behind) / cell), math.floor((left + aside) / cell)
            for i in range(
                max(0, math.floor((ahead - reach + behind) / cell)),
                min(rows, math.floor((ahead + reach + behind) / cell) + 1),
            ):
                for j in range(
                    max(0, math.floor((left - reach + aside) / cell)),
                    min(columns, math.floor((left + reach + aside) / cell) + 1),
                ):
                    px, py = (i + _HALF) * cell - behind - ahead, (j + _HALF) * cell - aside - left
                    inside = abs(px * c + py * s) <= long and abs(py * c - px * s) <= broad
                    if inside or (i == at_i and j == at_j):
                        agents[w, i, j] = True
                        velocity[w, 0, i, j], velocity[w, 1, i, j] = f[SPEED_MPS, a] * c, f[SPEED_MPS, a] * s
        half = _HALF * t.lane_f[routes[w, 0, ints[w, ROUTE_AT, 0]], BROAD_M]
        for k in range(points.shape[1]):
            ahead, left = points[w, k, 0], points[w, k, 1]
            for i in range(
                max(0, math.floor((ahead - half + behind) / cell)),
                min(rows, math.floor((ahead + half + behind) / cell) + 1),
            ):
                for j in range(
                    max(0, math.floor((left - half + aside) / cell)),
                    min(columns, math.floor((left + half + aside) / cell) + 1),
                ):
                    px, py = (i + _HALF) * cell - behind - ahead, (j + _HALF) * cell - aside - left
                    if px * px + py * py <= half * half:
                        route[w, i, j] = True

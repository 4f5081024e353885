"""What sensors see of the driving world: boxes, ground, light. Plain arrays, worlds side by side.

Axes: x and y span the ground, z points up, yaw turns from x to y. A box stands upright on its footprint; its length
lies along its heading. All sensors read from these arrays alone, so whoever fills them is a world.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.pyramid import painted, tiled

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Class(IntEnum):
    """What a pixel or a LiDAR point may belong to. Rasters hold ground and paint, boxes the rest."""

    SKY = 0
    # ground
    TERRAIN = 1
    ROAD = 2
    SHOULDER = 3
    SIDEWALK = 4
    PARKING = 5
    PLOT = 6
    # paint on the ground
    LINE = 8
    YELLOW_LINE = 9
    STOP_LINE = 10
    CROSSING = 11
    ARROW = 12
    # bodies
    CAR = 16
    VAN = 17
    TRUCK = 18
    BUS = 19
    MOTORCYCLE = 20
    CYCLIST = 21
    PEDESTRIAN = 22
    OBSTACLE = 23
    # what stands beside the road
    BUILDING = 24
    POLE = 25
    SIGNAL = 26
    SIGN = 27
    BILLBOARD = 28
    BARRIER = 29
    TREE = 30
    PATCH = 31


PAINT = slice(8, 16)
"""The classes that are paint: they lie on other ground and may be thinner than a pixel."""


@dataclass(frozen=True, eq=False)
class Ground:
    """A bank of maps, each a raster of ground classes. Beyond a raster's edge the ground is TERRAIN.

    Raises:
        InputError: a wrong shape or type, or a class that is no ground.
    """

    raster: Bytes
    """(maps, H, W) uint8, ground and paint classes; row i, column j is the square whose lower left corner is
    ``origin + metres_per_pixel * (j, i)``."""
    metres_per_pixel: float
    origin_m: Floats
    """(maps, 2) float32, the (x, y) of each raster's corner [0, 0]."""

    def __post_init__(self) -> None:
        _expect("Ground.raster", self.raster, np.uint8, (None, None, None))
        _expect("Ground.origin_m", self.origin_m, np.float32, (self.raster.shape[0], 2))
        if not self.metres_per_pixel > 0:
            raise InputError(f"Ground.metres_per_pixel must be above 0. Got {self.metres_per_pixel!r}.")
        most = int(self.raster.max(initial=0))
        if most >= PAINT.stop:
            raise InputError(f"Ground.raster must hold classes below {PAINT.stop}. Got {most}.")

    @cached_property
    def tiles(self) -> Bytes:
        """(maps, N) the raster as `pyramid.tiled` lays it out, made when first asked for."""
        return tiled(self.raster)

    @cached_property
    def paint(self) -> tuple[Bytes, NDArray[np.int64]]:
        """Shares of paint in squares of 2 to 64 raster squares (`pyramid.painted`), made when first asked for."""
        return painted(self.raster, 6)


@dataclass(frozen=True, eq=False)
class Scene:
    """All worlds at one moment. Arrays may be written to in place from step to step; shapes and types stay.

    Raises:
        InputError: an array of the wrong shape or type, named.
    """

    x_m: Floats
    """(worlds, boxes) float32, the footprint's centre."""
    y_m: Floats
    z0_m: Floats
    """(worlds, boxes) float32, height of the underside above the ground."""
    yaw_rad: Floats
    length_m: Floats
    """(worlds, boxes) float32, along the heading; above 0 for a box that is alive."""
    width_m: Floats
    height_m: Floats
    kind: Bytes
    """(worlds, boxes) uint8, a `Class`."""
    instance: NDArray[np.uint16]
    """(worlds, boxes) uint16, an object's number within its world, from 1; 0 is the ground and the sky."""
    skin: NDArray[np.uint16]
    """(worlds, boxes) uint16, index of a skin: which textures the box wears."""
    tint: Bytes
    """(worlds, boxes, 3) uint8, the colour that the skin is multiplied by; 255 leaves it as it is."""
    alive: NDArray[np.bool_]
    """(worlds, boxes) bool; what is not alive is not seen."""
    ground: Ground
    map_of_world: NDArray[np.int32]
    """(worlds,) int32, which of the ground's maps."""
    style: Bytes
    """(worlds,) uint8, index of a style: weather and light."""
    sun_azimuth_rad: Floats
    """(worlds,) float32, where the sun stands, from x to y."""
    key: NDArray[np.uint64]
    """(worlds,) uint64, what all noise of a world is drawn from."""
    tick: NDArray[np.int64]
    """(worlds,) int64, the moment: noise differs from tick to tick."""

    def __post_init__(self) -> None:
        worlds, boxes = self.x_m.shape if self.x_m.ndim == 2 else (None, None)
        for name in ("x_m", "y_m", "z0_m", "yaw_rad", "length_m", "width_m", "height_m"):
            _expect(f"Scene.{name}", getattr(self, name), np.float32, (worlds, boxes))
        _expect("Scene.kind", self.kind, np.uint8, (worlds, boxes))
        _expect("Scene.instance", self.instance, np.uint16, (worlds, boxes))
        _expect("Scene.skin", self.skin, np.uint16, (worlds, boxes))
        _expect("Scene.tint", self.tint, np.uint8, (worlds, boxes, 3))
        _expect("Scene.alive", self.alive, np.bool_, (worlds, boxes))
        _expect("Scene.map_of_world", self.map_of_world, np.int32, (worlds,))
        _expect("Scene.style", self.style, np.uint8, (worlds,))
        _expect("Scene.sun_azimuth_rad", self.sun_azimuth_rad, np.float32, (worlds,))
        _expect("Scene.key", self.key, np.uint64, (worlds,))
        _expect("Scene.tick", self.tick, np.int64, (worlds,))
        maps = len(self.ground.raster)
        if len(self.map_of_world) and not (self.map_of_world.min() >= 0 and self.map_of_world.max() < maps):
            raise InputError(f"Scene.map_of_world must lie in 0 to {maps - 1}. Got {self.map_of_world.tolist()[:8]}.")

    @property
    def worlds(self) -> int:
        return int(self.x_m.shape[0])

    @property
    def boxes(self) -> int:
        return int(self.x_m.shape[1])

    @classmethod
    def empty(cls, worlds: int, boxes: int, ground: Ground) -> Scene:
        """Worlds without a box alive, under a high sun, all on the ground's first map; fill the arrays in place."""
        floats = {
            name: np.zeros((worlds, boxes), np.float32)
            for name in ("x_m", "y_m", "z0_m", "yaw_rad", "length_m", "width_m", "height_m")
        }
        return cls(
            **floats,
            kind=np.full((worlds, boxes), Class.OBSTACLE, np.uint8),
            instance=np.tile(np.arange(1, boxes + 1, dtype=np.uint16), (worlds, 1)),
            skin=np.zeros((worlds, boxes), np.uint16),
            tint=np.full((worlds, boxes, 3), 255, np.uint8),
            alive=np.zeros((worlds, boxes), np.bool_),
            ground=ground,
            map_of_world=np.zeros(worlds, np.int32),
            style=np.zeros(worlds, np.uint8),
            sun_azimuth_rad=np.zeros(worlds, np.float32),
            key=np.arange(worlds, dtype=np.uint64),
            tick=np.zeros(worlds, np.int64),
        )

    def select(self, index: NDArray[Any]) -> Scene:
        """The worlds at `index` (integers or a bool mask), copied; the ground is shared."""
        rest = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "ground"}
        return Scene(**rest, ground=self.ground)


def _expect(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int | None, ...]) -> None:
    """One line that names the array where its type, shape or layout is another."""
    right = array.ndim == len(shape) and all(w is None or h == w for h, w in zip(array.shape, shape, strict=True))
    if array.dtype != dtype or not right or not array.flags.c_contiguous:
        wanted = ", ".join("any" if w is None else str(w) for w in shape)
        came = f"{array.dtype} {array.shape}" + ("" if array.flags.c_contiguous else " not contiguous")
        raise InputError(f"{name} must be a contiguous {np.dtype(dtype)} array of ({wanted}). Got {came}.")

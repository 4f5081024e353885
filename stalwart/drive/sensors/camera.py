"""Cameras: any number of them on a car, each with its mount, field of view and size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.scene import Bytes, Floats, Scene
from stalwart.drive.sensors import styles
from stalwart.drive.sensors.fan import Fan, planar
from stalwart.drive.sensors.frame import frames
from stalwart.drive.sensors.moments import moment
from stalwart.drive.sensors.records import Boxes, Dress, Land, Out, Rays
from stalwart.drive.sensors.skins import Look, default_look


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the ground.

    Raises:
        InputError: a value out of range, named.
    """

    height: int = 64
    """Pixels."""
    width: int = 96
    fov_deg: float = 70.0
    """Horizontal field of view, above 0 and below 170."""
    x_m: float = 0.6
    """Mount, ahead of the box's middle."""
    y_m: float = 0.0
    """To the left."""
    z_m: float = 1.35
    """Above the ground."""
    yaw_deg: float = 0.0
    """Where it looks, from the heading to the left."""
    horizon: float = 0.45
    """Where the horizon lies, as a share of the height from the top. Lens shift moves it: the pitch is zero."""

    def __post_init__(self) -> None:
        for name, value, fits, wanted in (
            ("height", self.height, self.height >= 1, "at least 1"),
            ("width", self.width, self.width >= 2, "at least 2"),
            ("fov_deg", self.fov_deg, 0 < self.fov_deg < 170, "above 0 and below 170"),
            ("z_m", self.z_m, self.z_m > 0, "above 0"),
        ):
            if not fits:
                raise InputError(f"camera.{name} must be {wanted}. Got {value!r}.")

    @cached_property
    def fan(self) -> Fan:
        return planar(self.height, self.width, math.radians(self.fov_deg), self.horizon)

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, the same in both directions."""
        return self.width / 2 / math.tan(math.radians(self.fov_deg) / 2)

    def project(
        self, x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Row, column and depth in m of points in the carrying box's frame (ahead, left, above the ground).

        Pixel (0, 0) has its middle at row 0, column 0; what lies behind the camera has a depth below 0.
        """
        cosine, sine = math.cos(math.radians(self.yaw_deg)), math.sin(math.radians(self.yaw_deg))
        ahead, aside = x - self.x_m, y - self.y_m
        depth, left = cosine * ahead + sine * aside, cosine * aside - sine * ahead
        with np.errstate(divide="ignore", invalid="ignore"):
            column = (self.width - 1) / 2 - self.focal_px * left / depth
            row = self.horizon * self.height - 0.5 - self.focal_px * (z - self.z_m) / depth
        return row, column, depth


@dataclass(frozen=True, eq=False)
class Frames:
    """What one camera sees in all worlds."""

    rgb: Bytes
    """(worlds, 3, H, W) uint8."""
    depth_m: Floats
    """(worlds, H, W) float32, distance along the camera's axis; inf in the sky."""
    kind: Bytes
    """(worlds, H, W) uint8, a `Class`."""
    instance: NDArray[np.uint16]
    """(worlds, H, W) uint16, the box's `Scene.instance`; 0 on the ground and in the sky."""
    texels: NDArray[np.int32] | None = None
    """(worlds, H, W, 3) int32: two texels of the bank's rip-maps, and how many parts of 31 the second covers."""
    gain: NDArray[np.uint16] | None = None
    """(worlds, H, W, 4) uint16: what a texel's R, G and B are multiplied by, in parts of 16384."""
    bias: NDArray[np.uint16] | None = None
    """(worlds, H, W, 4) uint16: what is added then, in sixteenths of a level of 255."""


def mount(camera: Camera) -> tuple[float, float, float, float]:
    """Ahead, left and up in m, and yaw in rad."""
    return camera.x_m, camera.y_m, camera.z_m, math.radians(camera.yaw_deg)


def room(camera: Camera, worlds: int, affine: bool = False) -> Frames:
    """Frames to be written to; used again from step to step they spare the time that fresh memory takes.

    Args:
        affine: whether to keep what colours are made of, for `shade`.
    """
    shape = (worlds, camera.height, camera.width)
    return Frames(
        np.empty((worlds, 3, camera.height, camera.width), np.uint8),
        np.empty(shape, np.float32),
        np.empty(shape, np.uint8),
        np.empty(shape, np.uint16),
        np.empty((*shape, 3), np.int32) if affine else None,
        np.empty((*shape, 4), np.uint16) if affine else None,
        np.empty((*shape, 4), np.uint16) if affine else None,
    )


def eyes(
    scene: Scene, ego: NDArray[np.int32], mounts: Sequence[tuple[float, float, float, float]]
) -> NDArray[np.float64]:
    """(mounts * worlds, 4) float64: x, y, z in m and yaw in rad of sensors that box `ego` of each world carries.

    Raises:
        InputError: a box that a world has not.
    """
    if ego.shape != (scene.worlds,) or (len(ego) and not (ego.min() >= 0 and ego.max() < scene.boxes)):
        raise InputError(
            f"ego must hold a box of 0 to {scene.boxes - 1} for each of {scene.worlds} worlds. Got {ego.shape} "
            f"{ego.tolist()[:8]}."
        )
    at = np.arange(scene.worlds), ego
    x, y, yaw = (array[at].astype(np.float64) for array in (scene.x_m, scene.y_m, scene.yaw_rad))
    cosine, sine = np.cos(yaw), np.sin(yaw)
    rows = [
        np.stack(
            [x + cosine * ahead - sine * left, y + sine * ahead + cosine * left, np.full_like(x, up), yaw + turn], 1
        )
        for ahead, left, up, turn in mounts
    ]
    return np.concatenate(rows)


def bundles(scene: Scene) -> tuple[Boxes, Land]:
    """The scene's arrays as the kernels take them."""
    ground = scene.ground
    _, tall, wide = ground.raster.shape
    boxes = Boxes(
        scene.x_m, scene.y_m, scene.z0_m, scene.yaw_rad, scene.length_m, scene.width_m, scene.height_m, scene.kind,
        scene.instance, scene.skin, scene.tint, scene.alive,
    )  # fmt: skip
    land = Land(
        ground.tiles, np.array([tall, wide]), ground.origin_m, *ground.paint, scene.map_of_world,
        scene.style, scene.sun_azimuth_rad, styles.table(),
    )  # fmt: skip
    return boxes, land


def beam(camera: Camera) -> Floats:
    """(1, W) how much of the own head lamps shines along each column."""
    azimuths = camera.fan.azimuths + math.radians(camera.yaw_deg)
    azimuths = (azimuths + math.pi) % (2 * math.pi) - math.pi
    return np.asarray(np.exp(-((azimuths / 0.55) ** 2)), np.float32)[None]


def see(
    scene: Scene,
    camera: Camera,
    ego: NDArray[np.int32] | None = None,
    look: Look | None = None,
    out: Frames | None = None,
) -> Frames:
    """What a camera on box `ego` of each world sees (box 0 where none is given); the box itself is not seen.

    Args:
        ego: (worlds,) int32.
        look: textures and skins; the default look where none is given.
        out: where to write, from `room`; decides what is written beside colours, depth, class and instance.

    Raises:
        InputError: `ego` is no box, or `out` was made for another camera or another number of worlds.
    """
    look = look or default_look()
    ego = np.zeros(scene.worlds, np.int32) if ego is None else ego
    out = out or room(camera, scene.worlds)
    if out.depth_m.shape != (scene.worlds, camera.height, camera.width):
        raise InputError(
            f"out must be room for ({scene.worlds}, {camera.height}, {camera.width}). Got {out.depth_m.shape}."
        )
    fan = camera.fan
    views = eyes(scene, ego, [mount(camera)])
    keys = moment(scene, "camera", *(round(1000 * part) for part in mount(camera)))
    words = np.empty((1, 0, 0), np.uint16)
    frames(
        *bundles(scene),
        Rays(*fan.singles, fan.azimuths, fan.slopes, fan.lens, beam(camera), views, ego, keys),
        Dress(look.layers, look.tiles, look.mirrored, look.ground, look.skies, look.textures.packed),
        Out(
            out.rgb, out.depth_m, out.kind, out.instance,
            np.empty((1, 0, 0, 3), np.int32) if out.texels is None else out.texels,
            words if out.gain is None else out.gain.reshape(*out.gain.shape[:2], -1),
            words if out.bias is None else out.bias.reshape(*out.bias.shape[:2], -1),
        ),
        scene.ground.metres_per_pixel, fan.slope_step, 1 / camera.focal_px, look.textures.bits,
    )  # fmt: skip
    return out

"""Scenes, cameras and LiDARs on a graphics card: one thread of it for each view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.drive.on_gpu import DEVICE, Each, beside, expect_gpu, spread, upload, uploaded
from stalwart.drive.scene import Scene
from stalwart.drive.sensors import camera as cameras
from stalwart.drive.sensors import lidar as lidars
from stalwart.drive.sensors.camera import Camera, Frames, bundles
from stalwart.drive.sensors.echoes import Ears, Echoes, Faults, new_ears, scan_view
from stalwart.drive.sensors.fan import Fan
from stalwart.drive.sensors.frame import see_view
from stalwart.drive.sensors.lidar import Lidar, Scan
from stalwart.drive.sensors.moments import moment_of
from stalwart.drive.sensors.records import Boxes, Dress, Land, Out, Rays, Row, Slots, new_row, new_slots
from stalwart.drive.sensors.skins import Look, default_look

Tensor = torch.Tensor
Mount = tuple[float, float, float, float]
"""Ahead, left and up in m, and yaw in rad."""
AT_ONCE = 8192
"""Views for which there is scratch memory; further ones follow in turns."""


@dataclass(frozen=True, eq=False)
class GpuScene:
    """A `Scene` whose arrays are tensors on the card."""

    boxes: Boxes
    """(worlds, boxes) each; see `Scene`."""
    land: Land
    key: Tensor
    tick: Tensor
    metres_per_pixel: float

    @classmethod
    def of(cls, scene: Scene) -> GpuScene:
        """A copy of a scene.

        Raises:
            InputError: no graphics card that can be used.
        """
        expect_gpu()
        boxes, land = bundles(scene)
        return cls(
            Boxes(*(cast(Any, spread(array)) for array in boxes)), cast(Land, uploaded(land)), upload(scene.key),
            upload(scene.tick), scene.ground.metres_per_pixel,
        )  # fmt: skip

    @property
    def worlds(self) -> int:
        return int(self.boxes.x.shape[0])

    def eyes(self, ego: Tensor, mount: Mount) -> Tensor:
        """(worlds, 4) float64, as `camera.eyes` has it for one mount."""
        ahead, left, up, turn = mount
        boxes, at = cast(Any, self.boxes), ego[:, None].long()
        x, y, yaw = (array.gather(1, at)[:, 0].double() for array in (boxes.x, boxes.y, boxes.yaw))
        cosine, sine = yaw.cos(), yaw.sin()
        return torch.stack(
            [x + cosine * ahead - sine * left, y + sine * ahead + cosine * left, torch.full_like(x, up), yaw + turn], 1
        )

    def moment(self, *parts: int | str) -> Tensor:
        """(worlds,) uint64, as `moments.moment`."""
        out: Tensor = _empty((self.worlds,), torch.uint64)
        _moment(self.worlds, out, self.key, self.tick, np.uint64(seed_of(*parts)))
        return out

    def carriers(self, ego: Any) -> Tensor:
        """(worlds,) int32 the boxes that carry a sensor.

        Raises:
            InputError: a box that a world has not.
        """
        chosen = torch.zeros(self.worlds) if ego is None else torch.as_tensor(ego)
        chosen, most = chosen.to(DEVICE, torch.int32), self.boxes.x.shape[1]
        if chosen.shape != (self.worlds,) or not bool(((chosen >= 0) & (chosen < most)).all()):
            raise InputError(f"ego must hold a box of 0 to {most - 1} for each of {self.worlds} worlds.")
        return chosen


def scan_room(lidar: Lidar, worlds: int) -> Scan:
    """A scan on the card to be written to."""
    shape = (worlds, lidar.channels, lidar.azimuths)
    return Scan(*(_empty(shape, kind) for kind in (torch.float32, torch.float32, torch.uint8, torch.uint16)))


def frame_room(camera: Camera, worlds: int, affine: bool = False) -> Frames:
    """Frames on the card to be written to; `affine` as `camera.room` has it."""
    size = (camera.height, camera.width)
    shape, parts = (worlds, *size), (*size, 4)
    return Frames(
        _empty((worlds, 3, *size), torch.uint8), _empty(shape, torch.float32), _empty(shape, torch.uint8),
        _empty(shape, torch.uint16), _empty((*shape, 3), torch.int32) if affine else None,
        _empty((worlds, *parts), torch.uint16) if affine else None,
        _empty((worlds, *parts), torch.uint16) if affine else None,
    )  # fmt: skip


def _empty(shape: tuple[int, ...], kind: torch.dtype) -> Any:
    return torch.empty(shape, dtype=kind, device=DEVICE)


def _rays(scene: GpuScene, fan: Fan, beams: Any, carriers: Tensor, mount: Mount, keys: Tensor) -> Rays:
    still = (*fan.singles, fan.azimuths, fan.slopes, fan.lens, beams)
    return Rays(*(cast(Any, upload(part)) for part in still), *cast(Any, (scene.eyes(carriers, mount), carriers, keys)))


def scan(scene: GpuScene, lidar: Lidar, ego: Any = None, out: Scan | None = None) -> Scan:
    """`lidar.scan` on the card; what a scan holds are tensors there.

    Raises:
        InputError: `ego` is no box, or `out` was made for another LiDAR or another number of worlds.
    """
    carriers, out = scene.carriers(ego), out or scan_room(lidar, scene.worlds)
    shape = scene.worlds, lidar.channels, lidar.azimuths
    if out.range_m.shape != shape:
        raise InputError(f"out must be room for {shape}. Got {tuple(out.range_m.shape)}.")
    mount = (lidar.x_m, lidar.y_m, lidar.z_m, math.radians(lidar.yaw_deg))
    keys = scene.moment("lidar", *(round(part * 1000) for part in mount[:3]))
    rays = _rays(scene, lidar.fan, np.zeros((1, 0), np.float32), carriers, mount, keys)
    faults, air, albedo = lidars.tables(lidar)
    at_once = min(AT_ONCE, scene.worlds)
    ears = new_ears(scene.boxes.x.shape[1], *shape[1:], lambda size, kind: _scratch(at_once, size, kind))
    for start in range(0, scene.worlds, at_once):
        _scan(
            min(at_once, scene.worlds - start), np.int64(start), scene.boxes, scene.land, rays,
            Echoes(*cast(Any, (out.range_m, out.intensity, out.kind, out.instance))), faults, upload(air),
            upload(albedo), scene.metres_per_pixel, ears,
        )  # fmt: skip
    return out


def see(
    scene: GpuScene, camera: Camera, ego: Any = None, look: Look | None = None, out: Frames | None = None
) -> Frames:
    """`camera.see` on the card; what frames hold are tensors there.

    Raises:
        InputError: `ego` is no box, or `out` was made for another camera or another number of worlds.
    """
    look, carriers, out = look or default_look(), scene.carriers(ego), out or frame_room(camera, scene.worlds)
    shape = scene.worlds, camera.height, camera.width
    if out.depth_m.shape != shape:
        raise InputError(f"out must be room for {shape}. Got {tuple(out.depth_m.shape)}.")
    mount = cameras.mount(camera)
    keys = scene.moment("camera", *(round(1000 * part) for part in mount))
    rays = _rays(scene, camera.fan, cameras.beam(camera), carriers, mount, keys)
    dress = uploaded(Dress(look.layers, look.tiles, look.mirrored, look.ground, look.skies, look.textures.packed))
    seen = Out(
        out.rgb, out.depth_m, out.kind, out.instance,
        _empty((1, 0, 0, 3), torch.int32) if out.texels is None else out.texels,
        *(_empty((1, 0, 0), torch.uint16) if part is None else part.reshape(*part.shape[:2], -1)
          for part in (out.gain, out.bias)),
    )  # fmt: skip
    at_once = min(AT_ONCE, scene.worlds)
    eights = torch.zeros((at_once, 2, -(-camera.width // 8)), dtype=torch.int64, device=DEVICE)
    slots = new_slots(scene.boxes.x.shape[1], *shape[1:], lambda size, kind: _scratch(at_once, size, kind))
    row = new_row(
        camera.height, camera.width, lambda size, kind: _scratch(at_once, size, kind), eights.view(torch.uint64),
        eights.view(torch.uint8),
    )  # fmt: skip
    for start in range(0, scene.worlds, at_once):
        _see(
            min(at_once, scene.worlds - start), np.int64(start), scene.boxes, scene.land, rays, dress, seen,
            scene.metres_per_pixel, camera.fan.slope_step, 1 / camera.focal_px, np.int64(look.textures.bits), slots,
            row,
        )  # fmt: skip
    return out


def _scratch(views: int, size: tuple[int, ...], kind: Any) -> Tensor:
    return beside(views, *size, dtype=torch.from_numpy(np.empty(0, kind)).dtype)


@Each
def _moment(i: int, out: Any, keys: Any, ticks: Any, salt: Any) -> None:
    out[i] = moment_of(keys[i], ticks[i], salt)


@Each
def _scan(
    i: int, start: int, boxes: Boxes, land: Land, rays: Rays, out: Echoes, faults: Faults, air: Any, albedo: Any,
    metres_per_square: float, s: Ears,
) -> None:  # fmt: skip
    mine = Ears(
        s.slots[i], s.owner[i], s.near[i], s.squares[i], s.spans[i], s.low[i], s.high[i], s.forward[i], s.left[i],
        s.base[i], s.rate[i], s.meets[i], s.places[i], s.dice[i], s.light[i], s.back[i], s.depth[i], s.code[i],
        s.reach[i],
    )  # fmt: skip
    scan_view(start + i, boxes, land, rays, out, faults, air, albedo, metres_per_square, mine)


@Each
def _see(
    i: int, start: int, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: float,
    slope_step: float, column_step: float, bits: int, s: Slots, t: Row,
) -> None:  # fmt: skip
    slots = Slots(
        s.slots[i], s.owner[i], s.near[i], s.walls[i], s.faces[i], s.gains[i], s.biases[i], s.lights[i], s.wear[i],
        s.numbers[i], s.tints[i], s.spans[i], s.low[i], s.high[i], s.forward[i], s.left[i], s.code[i], s.reach[i],
        s.sweeps[i], s.dark[i], s.veil[i],
    )  # fmt: skip
    row = Row(
        t.texel[i], t.places[i], t.textures[i], t.kinds[i], t.paint[i], t.seen[i], t.eights[i], t.gain[i], t.bias[i],
        t.spots[i], t.marks[i], t.light[i], t.kept[i], t.reflected[i], t.sky[i], t.layers[i], t.aim[i], t.style[i],
        t.lit[i],
    )  # fmt: skip
    row.lit[0] = -1.0
    see_view(start + i, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits, slots, row)

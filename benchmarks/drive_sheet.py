"""A contact sheet: one street in every style, and what each sensor makes of it.

python benchmarks/drive_sheet.py docs/images/driving-sensors.png
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stalwart.drive.scene import Class, Ground, Scene
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.faults import DirtyLens
from stalwart.drive.sensors.lidar import Lidar, scan
from stalwart.drive.sensors.skins import OF_CLASS, PAINTS, skin
from stalwart.drive.sensors.styles import STYLES


def street() -> Ground:
    """Four lanes along x and a crossroad."""
    y, x = np.arange(1200) * 0.1 - 59.95, np.arange(2400) * 0.1 - 59.95
    at_y, at_x = np.meshgrid(y, x, indexing="ij")
    raster = np.full(at_y.shape, Class.TERRAIN, np.uint8)
    cross = abs(at_x - 60) < 7
    raster[abs(at_y) < 9.5] = Class.SIDEWALK
    raster[(abs(at_y) < 7) | cross] = Class.ROAD
    raster[(abs(abs(at_y) - 6.8) < 0.08) & ~cross] = Class.LINE
    raster[(abs(abs(at_y) - 3.5) < 0.08) & (at_x % 9 < 3) & ~cross] = Class.LINE
    raster[(abs(abs(at_y) - 0.13) < 0.06) & ~cross] = Class.YELLOW_LINE
    raster[(abs(at_x - 49) < 1.5) & (abs(at_y) < 6.6) & ((at_y + 100) % 1.0 < 0.5)] = Class.CROSSING
    raster[(abs(at_x - 45.5) < 0.2) & (at_y < -0.3) & (at_y > -6.7)] = Class.STOP_LINE
    return Ground(raster[None], 0.1, np.array([[-60, -60]], np.float32))


def furnished() -> Scene:
    """A world for each style, all alike."""
    scene = Scene.empty(len(STYLES), 44, street())
    taken = iter(range(44))

    def put(kind: Class, at: tuple[float, float], turn: float, size: tuple[float, float, float], z0: float = 0.0,
            wears: str = "", tint: tuple[int, ...] = (255, 255, 255)) -> None:  # fmt: skip
        k = next(taken)
        scene.x_m[:, k], scene.y_m[:, k], scene.z0_m[:, k], scene.yaw_rad[:, k] = *at, z0, turn
        scene.length_m[:, k], scene.width_m[:, k], scene.height_m[:, k] = size
        scene.kind[:, k], scene.skin[:, k] = kind, skin(wears or OF_CLASS[kind])
        scene.tint[:, k], scene.alive[:, k] = tint, True

    paints = [tuple(int(c) for c in paint) for paint in PAINTS]
    back = math.pi
    put(Class.CAR, (0, -1.75), 0, (4.5, 1.8, 1.5), tint=paints[5])
    put(Class.CAR, (14, -5.2), 0, (4.4, 1.8, 1.5), tint=paints[6])
    put(Class.CAR, (24, -1.7), 0, (4.6, 1.8, 1.45), tint=paints[0])
    put(Class.VAN, (20, 1.8), back, (5.4, 2, 2.3), tint=paints[1])
    put(Class.TRUCK, (36, 5.2), back, (10, 2.5, 3.6), tint=paints[7])
    put(Class.BUS, (60, 14), -math.pi / 2, (12, 2.5, 3.2), tint=paints[10])
    put(Class.CYCLIST, (17, 4.6), back, (1.8, 0.6, 1.75), tint=(230, 120, 60))
    put(Class.PEDESTRIAN, (13, -8.3), 0, (0.4, 0.55, 1.75), tint=(90, 140, 200))
    put(Class.PEDESTRIAN, (49, -3), math.pi / 2, (0.4, 0.55, 1.7), tint=(220, 200, 60))
    put(Class.CAR, (9.5, 5.2), back, (4.4, 1.8, 1.5), tint=paints[3])
    for x, left, right in (
        (-10, "brick_house", "stone_house"),
        (8, "render_house", "brick_house"),
        (27, "office", "render_house"),
    ):
        put(Class.BUILDING, (x, 17), 0, (16, 11, 9.0 + abs(x) / 4), wears=left)
        put(Class.BUILDING, (x, -18), 0, (16, 11, 12.0 - abs(x) / 8), wears=right)
    put(Class.BUILDING, (90, 24), 0, (30, 20, 15), wears="office")
    put(Class.BUILDING, (95, -25), 0, (30, 20, 15), wears="brick_house")
    for x in (5, 22, 38):
        put(Class.TREE, (x, 9), 0, (0.35, 0.35, 2.2), wears="trunk")
        put(Class.TREE, (x, 9), 0.4, (3, 3, 2.2), z0=2.2)
        put(Class.TREE, (x, 9), 1.2, (1.9, 1.9, 1.3), z0=4.4)
    put(Class.POLE, (51.5, -8), 0, (0.15, 0.15, 5.5))
    put(Class.SIGNAL, (51.4, -7.8), back, (0.25, 0.5, 1.3), z0=2.4, wears="signal_red")
    put(Class.SIGNAL, (51.4, -3.2), back, (0.25, 0.5, 1.3), z0=4.6, wears="signal_red")
    put(Class.POLE, (18.1, -8.0), 0, (0.08, 0.08, 2.2))
    put(Class.SIGN, (18, -8.0), back, (0.05, 0.8, 0.8), z0=2, wears="limit_sign")
    put(Class.BILLBOARD, (39, -11), back - 0.5, (0.2, 6, 3), z0=2.5, wears="billboard_0")
    put(Class.BARRIER, (82, 8.5), 0, (28, 0.15, 0.8))
    scene.style[:], scene.sun_azimuth_rad[:] = np.arange(len(STYLES)), 2.2
    return scene


def coloured(numbers: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(3, H, W) a colour for each number, black for 0."""
    table = np.random.default_rng(4).integers(60, 256, (256, 3)).astype(np.uint8)
    table[0] = 0
    return table[numbers.astype(np.int64) % 256].transpose(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    path = parser.parse_args().file
    scene, camera = furnished(), Camera(height=192, width=320, fov_deg=75)
    frames = see(scene, camera)
    depth = np.clip(255 * 4 / np.maximum(frames.depth_m[0], 4), 0, 255).astype(np.uint8)
    lidar = Lidar(channels=48, azimuths=320 * 4, highest_deg=8, lowest_deg=-22)
    ranges = scan(scene, lidar).range_m[0][:, 480:800]
    rings = np.repeat(np.where(ranges > 0, np.clip(255 * 4 / np.maximum(ranges, 4), 30, 255), 0).astype(np.uint8), 4, 0)
    panels = [*frames.rgb, DirtyLens()(frames.rgb, scene)[0], coloured(frames.kind[0]), coloured(frames.instance[0])]
    panels += [np.stack([depth] * 3), np.stack([rings] * 3)]
    rows = [np.concatenate(panels[k : k + 3], 2) for k in range(0, 12, 3)]
    Image.fromarray(np.concatenate(rows, 1).transpose(1, 2, 0)).save(path, optimize=True)
    print(f"{path}: {', '.join(s.name for s in STYLES)}, dirty lens, class, instance, depth, LiDAR range")


if __name__ == "__main__":
    main()

"""A contact sheet: every family of roads with traffic, by a car's camera in every style, and from above.

Of a few worlds for each style the one is shown whose camera meets most bodies; from above it is the first style's.

python benchmarks/drive_families.py docs/images/driving-families.png
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stalwart.drive import make
from stalwart.drive.dressing import Dressed
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.styles import STYLES

FAMILIES = ("town(seed=3, blocks=2)", "crossroads(seed=1)", "roundabout(seed=1)", "rural(seed=1)", "motorway(seed=1)")
_TRIES = 6
WEATHERS = tuple(style.name for style in STYLES)
COLOURS = {
    Class.TERRAIN: (128, 150, 98), Class.ROAD: (78, 80, 84), Class.SHOULDER: (112, 110, 104),
    Class.SIDEWALK: (176, 172, 164), Class.PARKING: (94, 96, 100), Class.PLOT: (150, 140, 120),
    Class.LINE: (240, 240, 236), Class.YELLOW_LINE: (236, 190, 60), Class.STOP_LINE: (240, 240, 236),
    Class.CROSSING: (232, 232, 228), Class.BUILDING: (170, 120, 96), Class.TREE: (64, 104, 60),
    Class.PEDESTRIAN: (230, 90, 60), Class.CYCLIST: (240, 150, 40),
}  # fmt: skip
"""What classes look like from above; bodies without a colour of their own have their tint."""


def from_above(scene: Scene, world: int, width: int, height: int, metres: float = 110.0) -> NDArray[np.uint8]:
    """(3, H, W): the raster around the first agent, the boxes on it as rectangles, the first agent in red."""
    ground, per = scene.ground, width / metres
    table = np.full((256, 3), 128, np.uint8)
    for kind, colour in COLOURS.items():
        table[kind] = colour
    x0, y0 = float(scene.x_m[world, 0]) - metres / 2, float(scene.y_m[world, 0]) + metres * height / width / 2
    at_x = x0 + (np.arange(2 * width) + 0.5) / per / 2
    at_y = y0 - (np.arange(2 * height) + 0.5) / per / 2
    map_ = scene.map_of_world[world]
    column, row = (
        np.floor((at - ground.origin_m[map_, k]) / ground.metres_per_pixel).astype(int)
        for k, at in enumerate((at_x, at_y))
    )
    tall, wide = ground.raster.shape[1:]
    inside = ((row >= 0) & (row < tall))[:, None] & ((column >= 0) & (column < wide))[None]
    what = ground.raster[map_, np.clip(row, 0, tall - 1)[:, None], np.clip(column, 0, wide - 1)[None]]
    picture = Image.fromarray(table[np.where(inside, what, int(Class.TERRAIN))])
    draw = ImageDraw.Draw(picture)
    for b in np.argsort(scene.z0_m[world] + scene.height_m[world]):
        kind = Class(int(scene.kind[world, b]))
        if not scene.alive[world, b] or kind in (Class.SIGNAL, Class.SIGN, Class.BILLBOARD):
            continue
        c, s = np.cos(scene.yaw_rad[world, b]), np.sin(scene.yaw_rad[world, b])
        half_l, half_w = scene.length_m[world, b] / 2, scene.width_m[world, b] / 2
        corners = [(f * half_l * c - g * half_w * s, f * half_l * s + g * half_w * c)
                   for f, g in ((1, 1), (-1, 1), (-1, -1), (1, -1))]  # fmt: skip
        points = [
            ((scene.x_m[world, b] + dx - x0) * per * 2, (y0 - scene.y_m[world, b] - dy) * per * 2) for dx, dy in corners
        ]
        own = tuple(int(v) for v in scene.tint[world, b])
        draw.polygon(points, fill=(214, 40, 40) if b == 0 else COLOURS.get(kind, own), outline=(30, 30, 30))
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--seconds", type=float, default=3.0, help="driven before the picture is taken")
    given = parser.parse_args()
    camera = Camera(height=120, width=200, fov_deg=75, z_m=1.45)
    rows = []
    for spelled in FAMILIES:
        world = make(spelled, _TRIES * len(WEATHERS), agents=28, walkers=6, seed=2, metres_per_pixel=0.1)
        driver, dressed = Baseline(world, "expert"), Dressed(world, WEATHERS * _TRIES)
        for _ in range(int(given.seconds * 10)):
            world.step(driver())
        scene = dressed.scene()
        frames = see(scene, camera)
        bodies = (frames.kind >= Class.CAR) & (frames.kind <= Class.PEDESTRIAN)
        met = [len(np.unique(frames.instance[k][bodies[k]])) for k in range(world.worlds)]
        best = [max(range(k, world.worlds, len(WEATHERS)), key=met.__getitem__) for k in range(len(WEATHERS))]
        panels = [*frames.rgb[best], from_above(scene, best[0], camera.width, camera.height)]
        rows.append(np.concatenate(panels, 2))
    Image.fromarray(np.concatenate(rows, 1).transpose(1, 2, 0)).quantize(255).save(given.file, optimize=True)
    print(f"{given.file}: rows {', '.join(FAMILIES)}; columns {', '.join(WEATHERS)}, from above")


if __name__ == "__main__":
    main()

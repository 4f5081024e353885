"""A world from above: ground, houses, bodies, signals, and the way that is to be driven."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stalwart.core.errors import InputError
from stalwart.drive.scene import Bytes, Class, Scene
from stalwart.drive.sensors.skins import skin
from stalwart.drive.simulation import Worlds

Colour = tuple[int, int, int]

GROUND: dict[Class, Colour] = {
    Class.TERRAIN: (196, 210, 172), Class.ROAD: (92, 95, 102), Class.SHOULDER: (128, 126, 122),
    Class.SIDEWALK: (206, 201, 193), Class.PARKING: (112, 114, 122), Class.PLOT: (220, 213, 198),
    Class.LINE: (244, 244, 240), Class.YELLOW_LINE: (240, 196, 60), Class.STOP_LINE: (244, 244, 240),
    Class.CROSSING: (236, 236, 232), Class.ARROW: (244, 244, 240),
}  # fmt: skip
THINGS: dict[Class, Colour] = {
    Class.BUILDING: (176, 156, 142), Class.TREE: (110, 150, 88), Class.BILLBOARD: (130, 92, 60),
    Class.BARRIER: (150, 150, 154), Class.OBSTACLE: (226, 130, 50),
}  # fmt: skip
"""Colours of what stands; bodies keep their own."""
EGO: Colour = (30, 110, 235)
ROUTE: Colour = (90, 160, 255)
WALKER: Colour = (230, 96, 40)
_EDGE: Colour = (40, 42, 48)
_GLASS: Colour = (46, 54, 66)
LIGHTS = {"signal_red": (226, 44, 40), "signal_amber": (250, 190, 40), "signal_green": (40, 190, 84)}
_FINER = 2
"""Samples of a pixel in each direction."""
_LIGHT_M, _WALKER_M = 1.3, 0.55
"""Radii at which signals and walkers are drawn: true to scale they could not be seen."""


def route_of(
    world: Worlds, index: int, ego: int = 0, step_m: float = 2.0, reach_m: float = 60.0
) -> NDArray[np.float64]:
    """(n, 2) points in m of the next `reach_m` of the way that a driver from outside is to take, or of what is left."""
    state = world.state
    at = int(state.route_at[index, ego])
    number = int(state.words[index, 2])
    before = sum(len(roads.lanes) for roads in world.maps[:number])
    found: list[NDArray[np.float64]] = []
    left_m = reach_m
    for k, lane in enumerate(int(lane) - before for lane in state.route[index, ego, at:] if lane >= 0):
        line = world.maps[number].lanes[lane].line
        start = min(max(float(state.route_s_m[index, ego]), 0.0), line.length_m) if k == 0 else 0.0
        end = min(line.length_m, start + left_m)
        found.append(line.poses(np.linspace(start, end, max(2, int((end - start) / step_m))))[:, :2])
        left_m -= end - start
        if left_m <= 0:
            break
    return np.concatenate(found) if found else np.zeros((0, 2))


def draw(
    scene: Scene, world: int, *, size_px: int = 256, across_m: float = 80.0, ego: int = 0,
    route_m: NDArray[np.float64] | None = None,
) -> Bytes:  # fmt: skip
    """(size, size, 3) uint8: the world around box `ego`, which drives upwards, a little below the middle.

    Args:
        across_m: how many metres a side is.
        route_m: (n, 2) points of a way to draw, such as `route_of` gives.

    Raises:
        InputError: a size or an extent of 0 or below.
    """
    if size_px < 1 or not across_m > 0:
        raise InputError(f"draw: size_px and across_m must be above 0. Got {size_px!r} and {across_m!r}.")
    pixels = size_px * _FINER
    per_m = pixels / across_m
    x0, y0, yaw = (float(a[world, ego]) for a in (scene.x_m, scene.y_m, scene.yaw_rad))
    cosine, sine = math.cos(yaw), math.sin(yaw)
    low = 0.62  # of the height, where the driver is

    def to_picture(points: NDArray[np.float64]) -> list[tuple[float, float]]:
        dx, dy = points[:, 0] - x0, points[:, 1] - y0
        ahead, left = dx * cosine + dy * sine, dy * cosine - dx * sine
        return list(zip((pixels / 2 - left * per_m).tolist(), (pixels * low - ahead * per_m).tolist(), strict=True))

    row, column = np.mgrid[:pixels, :pixels] + 0.5
    ahead, left = (pixels * low - row) / per_m, (pixels / 2 - column) / per_m
    spots = np.stack([x0 + ahead * cosine - left * sine, y0 + ahead * sine + left * cosine], -1)
    picture = Image.fromarray(_ground(scene, world, spots))
    brush = ImageDraw.Draw(picture)
    if route_m is not None and len(route_m) > 1:
        brush.line(to_picture(route_m), fill=ROUTE, width=max(2, round(0.7 * per_m)), joint="curve")
    boxes = [b for b in np.argsort(scene.z0_m[world] + scene.height_m[world]) if scene.alive[world, b]]
    tall = (Class.BUILDING, Class.TREE, Class.BILLBOARD)
    for b in sorted(boxes, key=lambda b: scene.kind[world, b] in tall):
        _box(brush, scene, world, int(b), to_picture, per_m, int(b) == ego)
    small = picture.resize((size_px, size_px), Image.Resampling.BOX)
    return np.asarray(small, np.uint8)


def _ground(scene: Scene, world: int, spots: NDArray[np.float64]) -> Bytes:
    """(H, W, 3) the colours of the ground at points (H, W, 2)."""
    table = np.full((256, 3), GROUND[Class.TERRAIN], np.uint8)
    for kind, colour in GROUND.items():
        table[kind] = colour
    ground, number = scene.ground, int(scene.map_of_world[world])
    cell = np.floor((spots - ground.origin_m[number].astype(np.float64)) / ground.metres_per_pixel).astype(np.int64)
    tall, wide = ground.raster.shape[1:]
    inside = (cell[..., 0] >= 0) & (cell[..., 0] < wide) & (cell[..., 1] >= 0) & (cell[..., 1] < tall)
    safe = np.where(inside[..., None], cell, 0)
    kinds = np.where(inside, ground.raster[number, safe[..., 1], safe[..., 0]], np.uint8(Class.TERRAIN))
    painted: Bytes = table[kinds]
    return painted


def _box(
    brush: ImageDraw.ImageDraw, scene: Scene, world: int, b: int, to_picture: object, per_m: float, mine: bool
) -> None:
    assert callable(to_picture)
    x, y, yaw = (float(a[world, b]) for a in (scene.x_m, scene.y_m, scene.yaw_rad))
    length, width = float(scene.length_m[world, b]), float(scene.width_m[world, b])
    kind = Class(int(scene.kind[world, b]))
    cosine, sine = math.cos(yaw), math.sin(yaw)

    def corners(back: float, front: float, share: float = 1.0) -> list[tuple[float, float]]:
        along = np.array([back, front, front, back]) * length
        aside = np.array([-0.5, -0.5, 0.5, 0.5]) * width * share
        found: list[tuple[float, float]] = to_picture(
            np.stack([x + cosine * along - sine * aside, y + sine * along + cosine * aside], 1)
        )
        return found

    def disc(radius_m: float, colour: Colour) -> None:
        (u, v), r = to_picture(np.array([[x, y]]))[0], radius_m * per_m
        brush.ellipse((u - r, v - r, u + r, v + r), fill=colour, outline=_EDGE)

    match kind:
        case Class.SIGNAL:
            worn = int(scene.skin[world, b])
            lit = next((colour for name, colour in LIGHTS.items() if worn == skin(name)), None)
            if lit is not None:
                disc(_LIGHT_M, lit)
        case Class.POLE | Class.SIGN:
            pass
        case Class.PEDESTRIAN:
            disc(_WALKER_M, WALKER)
        case Class.TREE:
            disc(max(length, width) / 2, THINGS[kind])
        case _ if kind in THINGS:
            brush.polygon(corners(-0.5, 0.5), fill=THINGS[kind], outline=_EDGE)
        case _:
            red, green, blue = (int(c) for c in scene.tint[world, b])
            brush.polygon(corners(-0.5, 0.5), fill=EGO if mine else (red, green, blue), outline=_EDGE)
            if kind not in (Class.MOTORCYCLE, Class.CYCLIST):  # the windscreen tells front from rear
                brush.polygon(corners(0.14, 0.27, 0.82), fill=_GLASS)

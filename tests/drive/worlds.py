"""Hand-made scenes, and a slow clear ray caster to hold the kernels against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.scene import Class, Ground, Scene
from stalwart.drive.sensors.fan import Fan
from stalwart.drive.sensors.skins import OF_CLASS, PAINTS, skin
from stalwart.drive.world.bicycle import curved, displaced, driven

F = np.float32


def moved(
    x: float, y: float, yaw: float, speed: float, accel: float, steer: float, wheelbase: float, grip: float, dt: float
) -> tuple[float, float, float, float]:
    """x, y, heading and speed a tick later, of what `world.bicycle` says of one body."""
    bend = F(math.tan(steer))
    way, later = driven(F(speed), F(accel), F(dt))
    curvature = curved(F(speed), F(accel), bend, F(wheelbase), F(grip))
    forward, left = displaced(F(way), F(curvature), bend)
    c, s = math.cos(yaw), math.sin(yaw)
    return x + c * forward - s * left, y + s * forward + c * left, yaw + curvature * way, later


KINDS = (Class.CAR, Class.TRUCK, Class.PEDESTRIAN, Class.SIGNAL, Class.BUILDING, Class.PATCH)


def street(metres_per_pixel: float = 0.25) -> Ground:
    """A straight road of four lanes along x, with sidewalks, lines and a crossing, on a map that ends in sight."""
    y = (np.arange(int(60 / metres_per_pixel)) + 0.5) * metres_per_pixel - 30
    x = (np.arange(int(140 / metres_per_pixel)) + 0.5) * metres_per_pixel - 60
    at_y, at_x = np.meshgrid(y, x, indexing="ij")
    raster = np.full(at_y.shape, Class.TERRAIN, np.uint8)
    raster[abs(at_y) < 9.5] = Class.SIDEWALK
    raster[abs(at_y) < 7] = Class.ROAD
    raster[abs(abs(at_y) - 6.8) < 0.13] = Class.LINE
    raster[(abs(abs(at_y) - 3.5) < 0.13) & (at_x % 9 < 3)] = Class.LINE
    raster[abs(at_y) < 0.26] = Class.YELLOW_LINE
    raster[(abs(at_x - 25) < 1.5) & (abs(at_y) < 6.5) & (at_y % 1.0 < 0.5)] = Class.CROSSING
    return Ground(raster[None], metres_per_pixel, np.array([[-60, -30]], np.float32))


def random_scene(worlds: int, boxes: int, seed: int) -> Scene:
    """Boxes of all kinds anywhere around box 0, which carries the sensors; some hang overhead, some lie flat."""
    g = np.random.default_rng(seed)
    scene = Scene.empty(worlds, boxes, street())
    shape = worlds, boxes
    kinds = g.integers(0, len(KINDS), shape)
    sizes = np.array([(4.5, 1.8, 1.5), (9, 2.5, 3.6), (0.5, 0.5, 1.75), (0.3, 0.4, 1.1), (14, 10, 9), (3, 2.5, 0.02)])[
        kinds
    ]
    sizes = sizes * g.uniform(0.8, 1.3, (*shape, 1))
    scene.length_m[:], scene.width_m[:], scene.height_m[:] = np.moveaxis(sizes, -1, 0)
    distance, angle = g.uniform(7, 60, shape) + sizes[..., 0], g.uniform(-math.pi, math.pi, shape)
    scene.x_m[:], scene.y_m[:] = distance * np.cos(angle), distance * np.sin(angle)
    scene.x_m[:, 0], scene.y_m[:, 0] = g.uniform(-3, 3, worlds), g.uniform(-3, 3, worlds)
    scene.yaw_rad[:] = g.uniform(-math.pi, math.pi, shape)
    scene.z0_m[:] = np.where(kinds == 3, g.uniform(2, 5, shape), np.where(g.random(shape) < 0.1, 0.3, 0.0))
    scene.kind[:] = np.array(KINDS, np.uint8)[kinds]
    scene.skin[:] = np.array([skin(OF_CLASS[k]) for k in KINDS])[kinds]
    scene.tint[:] = PAINTS[g.integers(0, len(PAINTS), shape)]
    scene.alive[:] = g.random(shape) < 0.9
    scene.style[:] = np.arange(worlds) % 7
    scene.sun_azimuth_rad[:] = g.uniform(-math.pi, math.pi, worlds)
    return scene


def brute_force(
    scene: Scene, world: int, fan: Fan, eye: NDArray[np.float64], rise: float = 0.0, aside: float = 0.0, ego: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Depth, class and instance (H, W): every ray against every box in three dimensions, one after another.

    Args:
        eye: x, y, z in m and yaw in rad.
        rise, aside: by how many rows and columns all rays are shifted.
    """
    slopes = fan.slopes.astype(np.float64)[:, None] + rise * fan.slope_step
    across = fan.columns + aside * fan.steps
    cosine, sine = math.cos(eye[3]), math.sin(eye[3])
    ray = np.stack(np.broadcast_arrays(
        cosine * across[0] - sine * across[1], sine * across[0] + cosine * across[1], slopes
    ))  # (3, H, W)  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(ray[2] < 0, -eye[2] / ray[2], np.inf)
    kind = np.full(depth.shape, int(Class.SKY))
    spot = eye[:2, None, None] + np.where(np.isfinite(depth), depth, 0) * ray[:2]
    cell = np.floor((spot - scene.ground.origin_m[0].astype(np.float64)[:, None, None]) / scene.ground.metres_per_pixel)
    tall, wide = scene.ground.raster.shape[1:]
    inside = (cell[0] >= 0) & (cell[1] >= 0) & (cell[0] < wide) & (cell[1] < tall)
    safe = np.where(inside, cell, 0).astype(int)
    what = np.where(inside, scene.ground.raster[0, safe[1], safe[0]], int(Class.TERRAIN))
    kind[ray[2] < 0] = what[ray[2] < 0]
    instance = np.zeros(depth.shape, int)
    for b in range(scene.boxes):
        if b == ego or not scene.alive[world, b]:
            continue
        value = {
            n: float(getattr(scene, n)[world, b])
            for n in ("x_m", "y_m", "z0_m", "yaw_rad", "length_m", "width_m", "height_m")
        }
        c, s = math.cos(value["yaw_rad"]), math.sin(value["yaw_rad"])
        to_x, to_y = eye[0] - value["x_m"], eye[1] - value["y_m"]
        start = (c * to_x + s * to_y, c * to_y - s * to_x, eye[2] - value["z0_m"] - value["height_m"] / 2)
        along = (c * ray[0] + s * ray[1], c * ray[1] - s * ray[0], ray[2])
        enter, leave = np.full(depth.shape, -np.inf), np.full(depth.shape, np.inf)
        for axis, size in enumerate(("length_m", "width_m", "height_m")):
            with np.errstate(divide="ignore", invalid="ignore"):
                one = (-value[size] / 2 - start[axis]) / along[axis]
                other = (value[size] / 2 - start[axis]) / along[axis]
            enter, leave = np.maximum(enter, np.fmin(one, other)), np.minimum(leave, np.fmax(one, other))
        seen = (enter < leave) & (enter > 0) & (enter < depth)
        depth = np.where(seen, enter, depth)
        kind[seen], instance[seen] = scene.kind[world, b], scene.instance[world, b]
    return depth, kind, instance


def differing(
    scene: Scene, world: int, fan: Fan, eye: NDArray[np.float64], found: tuple[NDArray[Any], ...]
) -> tuple[int, float, int]:
    """How many rays the kernel and brute force judge differently, by how much depths of the others differ (of the depth
    or of a metre), and at how many of the former no ray a thousandth of a pixel beside it agrees with the kernel."""
    depth, kind, instance = brute_force(scene, world, fan, eye)
    apart = (kind != found[1]) | (instance != found[2])
    same = ~apart & np.isfinite(depth)
    error = float((abs(depth[same] - found[0][same]) / np.maximum(depth[same], 1)).max(initial=0.0))
    wrong = apart | (np.isfinite(depth) != np.isfinite(found[0]))
    unexplained = wrong.copy()
    if wrong.any():
        for rise, aside in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
            _, near_kind, near_instance = brute_force(scene, world, fan, eye, rise, aside)
            unexplained &= (near_kind != found[1]) | (near_instance != found[2])
    return int(wrong.sum()), error, int(unexplained.sum())

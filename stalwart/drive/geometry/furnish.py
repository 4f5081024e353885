"""What stands beside streets: houses, parked cars, billboards, trees. Nothing is put on ground that is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from stalwart.drive.geometry.curves import Doubles, Pose
from stalwart.drive.geometry.lanes import Area, Box, RoadMap
from stalwart.drive.geometry.network import PARKING_M, SIDEWALK_M, Street
from stalwart.drive.scene import Class

_PIXEL_M = 0.5
_TRUNK_M = 1.9


class _Free:
    """Which ground is still free: terrain that nothing has been put on."""

    def __init__(self, roads: RoadMap) -> None:
        raster, (self.left, self.bottom) = roads.raster(_PIXEL_M)
        self.taken = Image.fromarray((raster != Class.TERRAIN).astype(np.uint8) * 255)

    def take(self, pose: Pose, length_m: float, width_m: float) -> bool:
        """Whether a rectangle about `pose` is free; then it is no more."""
        corners = [(f * length_m / 2, s * width_m / 2) for f, s in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
        at = [pose.ahead(f, s) for f, s in corners]
        xy = [((p.x_m - self.left) / _PIXEL_M - 0.5, (p.y_m - self.bottom) / _PIXEL_M - 0.5) for p in at]
        low_x, low_y = (math.floor(min(v[k] for v in xy)) for k in (0, 1))
        high_x, high_y = (math.ceil(max(v[k] for v in xy)) + 1 for k in (0, 1))
        if low_x < 0 or low_y < 0 or high_x > self.taken.width or high_y > self.taken.height:
            return False
        shape = Image.new("L", (high_x - low_x, high_y - low_y))
        ImageDraw.Draw(shape).polygon([(x - low_x, y - low_y) for x, y in xy], fill=255, outline=255)
        window = np.asarray(self.taken.crop((low_x, low_y, high_x, high_y)))
        if (window[np.asarray(shape) > 0] > 0).any():
            return False
        ImageDraw.Draw(self.taken).polygon(xy, fill=255, outline=255)
        return True


def furnish(
    roads: RoadMap, streets: Sequence[Street], random: Generator, *,
    houses: float = 0.0, billboards: float = 0.0, trees: float = 0.0, parked: float = 0.0,
) -> RoadMap:  # fmt: skip
    """The map with houses (share of frontage), billboards and trees (per 100 m and side) and parked cars (share of
    strips) along its streets."""
    free = _Free(roads)
    boxes: list[Box] = []
    areas: list[Area] = []
    for street in streets:
        for line, edge in (
            (street.reference, street.start.right_edge_m), (street.reference.reversed(), street.end.right_edge_m),
        ):  # fmt: skip
            kerb = edge + (SIDEWALK_M if street.sidewalk else 1.0)
            if street.parking and parked > 0:
                s = 9.0
                while s < line.length_m - 9.0:
                    if random.random() < parked:
                        boxes.append(_parked(line.pose(s), edge, random))
                    s += random.uniform(6.2, 7.5)
            s = random.uniform(2.0, 20.0)
            while billboards and s < line.length_m:
                if random.random() < billboards * 0.2:
                    pose = line.pose(s).ahead(0, -kerb - 2.0, math.pi + random.uniform(-0.35, 0.1))
                    if free.take(pose, 1.0, 6.0):
                        boxes.append(Box(Class.BILLBOARD, pose.x_m, pose.y_m, pose.yaw_rad, 0.3, 5.6, 2.8, 2.4))
                        boxes.append(Box(Class.POLE, pose.x_m, pose.y_m, pose.yaw_rad, 0.25, 0.25, 2.4))
                s += 20.0
            s = 4.0
            while houses and s < line.length_m:
                front, depth = random.uniform(9, 20), random.uniform(8, 14)
                if random.random() < houses:
                    pose = line.pose(s + front / 2).ahead(0, -kerb - random.uniform(1.2, 3.0) - depth / 2)
                    if free.take(pose, front + 1.0, depth + 1.0):
                        height = 3.0 * random.integers(2, 6) + 0.6
                        boxes.append(Box(Class.BUILDING, pose.x_m, pose.y_m, pose.yaw_rad, front, depth, height))
                        areas.append(Area(Class.PLOT, _outline(pose, front + 1.4, depth + 1.4)))
                s += front + random.uniform(1.0, 6.0)
            for _ in range(random.poisson(trees * line.length_m / 100)):
                pose = line.pose(random.uniform(0, line.length_m)).ahead(0, -kerb - random.uniform(1.5, 14))
                if free.take(pose, 2.4, 2.4):
                    boxes += _tree(pose, random)
    return replace(roads, boxes=roads.boxes + tuple(boxes), areas=roads.areas + tuple(areas))


def _parked(pose: Pose, edge_m: float, random: Generator) -> Box:
    at = pose.ahead(0, -edge_m + PARKING_M / 2 - 0.05, random.normal(0, 0.015))
    if random.random() < 0.15:
        return Box(Class.VAN, at.x_m, at.y_m, at.yaw_rad, 5.4, 1.95, 2.2)
    length = random.uniform(3.8, 4.8)
    return Box(Class.CAR, at.x_m, at.y_m, at.yaw_rad, length, 1.8, random.uniform(1.42, 1.6))


def _tree(pose: Pose, random: Generator) -> list[Box]:
    """A trunk, and a crown that one can drive under: a broad part and a narrow one on top, turned against it."""
    size, yaw, height = random.uniform(2.0, 3.4), random.uniform(0, 3), random.uniform(4, 9)
    crown = min(height - _TRUNK_M, 1.5 * size)
    broad, narrow = 0.62 * crown, 0.62 * size
    x, y = pose.x_m, pose.y_m
    return [
        Box(Class.TREE, x, y, yaw, 0.12 * size, 0.12 * size, _TRUNK_M),
        Box(Class.TREE, x, y, yaw, size, size, broad, _TRUNK_M),
        Box(Class.TREE, x, y, yaw + 0.8, narrow, narrow, crown - broad, _TRUNK_M + broad),
    ]


def _outline(pose: Pose, length_m: float, width_m: float) -> Doubles:
    corners = [(f * length_m / 2, s * width_m / 2) for f, s in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    return np.array([[p.x_m, p.y_m] for p in (pose.ahead(f, s) for f, s in corners)])

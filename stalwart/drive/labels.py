"""What a camera's picture holds, exactly: objects with boxes, distance, occlusion and truncation, and class maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.scene import Bytes, Class, Scene
from stalwart.drive.sensors.camera import Camera, Frames

Doubles = NDArray[np.float64]

THINGS: dict[str, Class] = {
    "car": Class.CAR, "van": Class.VAN, "truck": Class.TRUCK, "bus": Class.BUS, "motorcycle": Class.MOTORCYCLE,
    "cyclist": Class.CYCLIST, "pedestrian": Class.PEDESTRIAN, "signal": Class.SIGNAL, "sign": Class.SIGN,
}  # fmt: skip
"""Classes whose objects are counted one by one."""
STUFF: dict[str, tuple[Class, ...]] = {
    "sky": (Class.SKY,),
    "terrain": (Class.TERRAIN, Class.PLOT),
    "road": (Class.ROAD, Class.SHOULDER, Class.PARKING),
    "marking": (Class.LINE, Class.YELLOW_LINE, Class.STOP_LINE, Class.CROSSING, Class.ARROW),
    "sidewalk": (Class.SIDEWALK,),
    "building": (Class.BUILDING,),
    "pole": (Class.POLE,),
    "billboard": (Class.BILLBOARD, Class.PATCH),
    "barrier": (Class.BARRIER, Class.OBSTACLE),
    "tree": (Class.TREE,),
}
"""Classes without instances, and what of the scene belongs to each."""
SEMANTIC = (*STUFF, *THINGS)
"""Names of all classes of a class map, in the order of their indices."""
THING_NAMES = tuple(THINGS)
INDEX = np.full(256, 255, np.uint8)
"""A `Class` to its index in `SEMANTIC`, 255 where there is none."""
THING_INDEX = np.full(256, 255, np.uint8)
"""A `Class` to its index in `THING_NAMES`, 255 where it is no thing."""
for _k, _kinds in enumerate((*STUFF.values(), *((kind,) for kind in THINGS.values()))):
    INDEX[list(_kinds)] = _k
for _k, _kind in enumerate(THINGS.values()):
    THING_INDEX[_kind] = _k

FEWEST_PX = 16
SHORTEST_PX = 4
MOST_HIDDEN = 0.8
"""An object counts where at least 16 of its pixels are seen, at least 4 rows of them, and at most four fifths of what
the picture would show of it alone are hidden."""
_NEAR_M = 0.05
"""What lies nearer to the camera's plane is cut off before it is projected."""


@dataclass(frozen=True, eq=False)
class Thing:
    """An object of which at least one pixel is seen. Places in the picture are continuous: (0, 0) is its upper left
    corner, (width, height) its lower right one."""

    instance: int
    """`Scene.instance`."""
    kind: Class
    box_px: tuple[float, float, float, float]
    """Left, top, right, bottom around its visible pixels."""
    whole_px: tuple[float, float, float, float]
    """The same around its projection, whatever hides it, cut at the picture's border."""
    visible_px: int
    """Pixels of it that are seen."""
    occlusion: float
    """Share in [0, 1] of its projection within the picture that something else hides; to a pixel or two."""
    truncation: float
    """Share in [0, 1] of its projection that lies beyond the picture."""
    distance_m: float
    """From the camera to its middle, along the ground."""
    place_m: tuple[float, float, float]
    """The middle of its underside in the carrying box's frame: ahead, left, above the ground."""
    yaw_rad: float
    """Its heading against the carrying box's, to the left, in (−π, π]."""
    size_m: tuple[float, float, float]
    """Length, width, height."""

    @property
    def counts(self) -> bool:
        """Whether enough of it is seen, by the rule above."""
        rows = self.box_px[3] - self.box_px[1]
        return self.visible_px >= FEWEST_PX and rows >= SHORTEST_PX and self.occlusion <= MOST_HIDDEN


def class_map(kind: Bytes) -> Bytes:
    """A picture's `Frames.kind` as indices in `SEMANTIC`."""
    mapped: Bytes = INDEX[kind]
    return mapped


def things(scene: Scene, world: int, frames: Frames, camera: Camera, ego: int = 0) -> list[Thing]:
    """The things that the camera on box `ego` of a world sees, the nearest first."""
    instance = frames.instance[world]
    seen = np.unique(instance[THING_INDEX[frames.kind[world]] != 255])
    boxes = [
        int(np.flatnonzero((scene.instance[world] == number) & scene.alive[world])[0]) for number in seen if number
    ]
    cosine, sine = math.cos(scene.yaw_rad[world, ego]), math.sin(scene.yaw_rad[world, ego])
    found = []
    for b in boxes:
        dx, dy = (float(a[world, b]) - float(a[world, ego]) for a in (scene.x_m, scene.y_m))
        place = (dx * cosine + dy * sine, dy * cosine - dx * sine, float(scene.z0_m[world, b]))
        turn = float(scene.yaw_rad[world, b]) - float(scene.yaw_rad[world, ego])
        size = (float(scene.length_m[world, b]), float(scene.width_m[world, b]), float(scene.height_m[world, b]))
        outline = _outline(camera, place, turn, size)
        inside = _within(outline, camera.width, camera.height)
        number = int(scene.instance[world, b])
        rows, columns = np.nonzero(instance == number)
        area, whole = _area(inside), _area(outline)
        left, top = inside.min(0) if len(inside) else (0.0, 0.0)
        right, bottom = inside.max(0) if len(inside) else (0.0, 0.0)
        found.append(
            Thing(
                number,
                Class(int(scene.kind[world, b])),
                (float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1),
                (float(left), float(top), float(right), float(bottom)),
                len(rows),
                min(max(1 - len(rows) / area, 0.0), 1.0) if area > 0 else 0.0,
                min(max(1 - area / whole, 0.0), 1.0) if whole > 0 else 0.0,
                math.hypot(place[0] - camera.x_m, place[1] - camera.y_m),
                place,
                math.pi - (math.pi - turn) % (2 * math.pi),
                size,
            )
        )
    return sorted(found, key=lambda thing: (thing.distance_m, thing.instance))


def _outline(camera: Camera, place: tuple[float, ...], yaw_rad: float, size: tuple[float, float, float]) -> Doubles:
    """(n, 2) the convex outline (x, y) of a box's projection in continuous pixels, whatever lies beyond the picture."""
    signs = np.array([(a, b, c) for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (0.0, 1.0)])
    local = signs * np.array(size)
    cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
    x = place[0] + cosine * local[:, 0] - sine * local[:, 1]
    y = place[1] + sine * local[:, 0] + cosine * local[:, 1]
    corners = np.stack([x, y, place[2] + local[:, 2]], 1)
    _, _, depth = camera.project(*corners.T)
    points = [corner for corner, d in zip(corners, depth, strict=True) if d >= _NEAR_M]
    for i in range(8):
        for j in (i ^ 1, i ^ 2, i ^ 4):  # corners that differ in one sign share an edge
            if depth[i] >= _NEAR_M > depth[j]:
                points.append(corners[i] + (corners[j] - corners[i]) * (depth[i] - _NEAR_M) / (depth[i] - depth[j]))
    if not points:
        return np.zeros((0, 2))
    row, column, _ = camera.project(*np.array(points).T)
    return _hull(np.stack([column + 0.5, row + 0.5], 1))


def _hull(points: Doubles) -> Doubles:
    """The convex hull, by Andrew's monotone chain."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered).reshape(-1, 2)
    chain: list[tuple[float, float]] = []
    for run in (ordered, ordered[::-1]):
        start = len(chain)
        for x, y in run:
            while len(chain) - start >= 2:
                (ax, ay), (bx, by) = chain[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        chain.pop()
    return np.array(chain)


def _within(outline: Doubles, width: int, height: int) -> Doubles:
    """A convex outline cut at the picture's borders (Sutherland and Hodgman 1974)."""
    points = [(float(x), float(y)) for x, y in outline]
    for axis, edge, sign in ((0, 0.0, 1), (0, float(width), -1), (1, 0.0, 1), (1, float(height), -1)):
        kept: list[tuple[float, float]] = []
        for one, other in zip(points, points[1:] + points[:1], strict=True):
            a, b = sign * (one[axis] - edge), sign * (other[axis] - edge)
            if a >= 0:
                kept.append(one)
            if (a >= 0) != (b >= 0):
                share = a / (a - b)
                kept.append((one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])))
        points = kept
    return np.array(points).reshape(-1, 2)


def _area(outline: Doubles) -> float:
    """In square pixels, by the shoelace formula."""
    x, y = outline.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2

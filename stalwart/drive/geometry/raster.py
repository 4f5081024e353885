"""The ground of a map as a raster of classes, painted from lanes and areas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stalwart.core.errors import InputError
from stalwart.drive.geometry.curves import Doubles
from stalwart.drive.geometry.lanes import Lane, Marking, Use
from stalwart.drive.scene import Class

if TYPE_CHECKING:
    from stalwart.drive.geometry.lanes import RoadMap

_LINE_M = 0.16
_DOUBLE_M = 0.18
"""From the middle of a double line to the middle of either."""
_DASH_M, _GAP_M = 3.0, 6.0
_MOST_PIXELS = 16384


def paint(roads: RoadMap, metres_per_pixel: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """See `RoadMap.raster`. Lines thinner than a pixel are painted one pixel wide.

    Raises:
        InputError: a resolution of 0 or below, or one that would make more than 16384 pixels a side.
    """
    left, bottom, right, top = roads.bounds_m
    if not metres_per_pixel > 0 or max(right - left, top - bottom) / metres_per_pixel > _MOST_PIXELS:
        raise InputError(
            f"raster: metres_per_pixel must be above {max(right - left, top - bottom) / _MOST_PIXELS:.3g} for a map of "
            f"{right - left:.0f} × {top - bottom:.0f} m. Got {metres_per_pixel!r}."
        )
    width, height = (int(np.ceil(extent / metres_per_pixel)) for extent in (right - left, top - bottom))
    picture = Image.new("L", (width, height), int(Class.TERRAIN))
    draw = ImageDraw.Draw(picture)

    def fill(points: Doubles, kind: Class) -> None:
        # A pixel's middle is at half-integers of the raster, at integers of the picture.
        at = (points - (left, bottom)) / metres_per_pixel - 0.5
        draw.polygon([(float(x), float(y)) for x, y in at], fill=int(kind))

    drive = [lane for lane in roads.lanes if lane.use == Use.DRIVE]
    for lane in drive:
        fill(_band(lane, lane.width_m / 2 + 0.3, -lane.width_m / 2 - max(lane.shoulder_m, 0.6)), Class.SHOULDER)
    for lane in roads.lanes:
        if lane.use == Use.WALK and lane.junction < 0:
            fill(_band(lane, lane.width_m / 2 + 0.02, -lane.width_m / 2 - 0.02), Class.SIDEWALK)
    for area in roads.areas:
        if area.kind in (Class.SIDEWALK, Class.PLOT, Class.PARKING, Class.SHOULDER):
            fill(area.points, area.kind)
    for lane in drive:
        if lane.shoulder_m >= 2.0:
            fill(_band(lane, -lane.width_m / 2, -lane.width_m / 2 - lane.shoulder_m), Class.PARKING)
    for lane in drive:
        fill(_band(lane, lane.width_m / 2 + 0.05, -lane.width_m / 2 - 0.05), Class.ROAD)
    for area in roads.areas:
        if area.kind not in (Class.SIDEWALK, Class.PLOT, Class.PARKING, Class.SHOULDER):
            fill(area.points, area.kind)
    thin = max(_LINE_M, metres_per_pixel)
    for lane in drive:
        for stretch, kind in _lines(lane, thin):
            fill(stretch, kind)
    for stripe in roads.stripes:
        along = np.gradient(stripe.points, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(along[:, 0], along[:, 1])[:, None] * thin / 2
        fill(np.concatenate([stripe.points + normal, (stripe.points - normal)[::-1]]), stripe.kind)
    return np.array(picture, np.uint8), (left, bottom)


def _band(lane: Lane, left_m: float, right_m: float, start_m: float = 0.0, end_m: float | None = None) -> Doubles:
    """The outline (n, 2) of what lies between two offsets of a lane's line."""
    end = lane.line.length_m if end_m is None else end_m
    poses = lane.line.poses(np.linspace(start_m, end, max(int((end - start_m) / 1.5), 1) + 1))
    normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], 1)
    return np.concatenate([poses[:, :2] + left_m * normal, (poses[:, :2] + right_m * normal)[::-1]])


def _lines(lane: Lane, thin_m: float) -> list[tuple[Doubles, Class]]:
    stretches = []
    for side, marking in ((1, lane.left_marking), (-1, lane.right_marking)):
        edge = side * lane.width_m / 2
        if marking == Marking.SOLID:
            stretches.append((_band(lane, edge + thin_m / 2, edge - thin_m / 2), Class.LINE))
        elif marking == Marking.DASHED:
            for start in np.arange(1.0, lane.line.length_m - _DASH_M, _DASH_M + _GAP_M):
                band = _band(lane, edge + thin_m / 2, edge - thin_m / 2, float(start), float(start) + _DASH_M)
                stretches.append((band, Class.LINE))
        elif marking == Marking.DOUBLE_YELLOW:
            for away in (-_DOUBLE_M, _DOUBLE_M):
                band = _band(lane, edge + away + thin_m / 2, edge + away - thin_m / 2)
                stretches.append((band, Class.YELLOW_LINE))
    return stretches

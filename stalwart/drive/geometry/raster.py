"""The ground of a map as a raster of classes, painted from lanes and areas."""

from __future__ import annotations

import math
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
_DASH_M, _GAP_M = 3.0, 6.0
_MOST_PIXELS, _PIECE = 16384, 12.0
"""Pixels of a side of a raster; of a piece of a line, around which pixels are looked at."""


def paint(roads: RoadMap, metres_per_pixel: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """See `RoadMap.raster`. Lines are as wide as the next whole number of pixels, so that none is torn or swells.

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
    raster = np.array(picture, np.uint8)
    thin = math.ceil(_LINE_M / metres_per_pixel - 1e-6) * metres_per_pixel
    strokes = [stroke for lane in drive for stroke in _lines(lane, thin)]
    for points, kind in [*strokes, *((stripe.points, stripe.kind) for stripe in roads.stripes)]:
        _stroke(raster, (points - (left, bottom)) / metres_per_pixel - 0.5, thin / metres_per_pixel, kind)
    return raster, (left, bottom)


def _stroke(raster: NDArray[np.uint8], points: Doubles, wide: float, kind: Class) -> None:
    """Give a class to the pixels whose middle lies within a line (n, 2) so wide, in pixels; a polygon's outline as
    Pillow fills it is a pixel wider or not, from row to row."""
    along = np.diff(points, axis=0)
    length = np.hypot(along[:, 0], along[:, 1])
    parts = np.ceil(length / _PIECE).astype(np.int64)
    which = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(which)) - np.repeat(np.cumsum(parts) - parts, parts)
    along, length = along[which] / parts[which, None], length[which] / parts[which]
    points = points[which] + along * part[:, None]
    reach = math.ceil((max(length, default=0.0) + wide) / 2) + 1
    beside = np.arange(-reach, reach + 1)
    cells = np.floor(points + along / 2).astype(np.int64)[:, None, None] + np.stack(np.meshgrid(beside, beside), -1)
    away = cells - points[:, None, None]
    c, s = ((along[:, k] / length)[:, None, None] for k in (0, 1))
    # A line that runs between two rows of pixels is to stay there: rounding decides nowhere.
    ahead, left = away[..., 0] * c + away[..., 1] * s, away[..., 1] * c - away[..., 0] * s + 1e-6
    on = (ahead > -0.5) & (ahead < length[:, None, None] + 0.5) & (left >= -wide / 2) & (left < wide / 2)
    on &= (cells >= 0).all(-1) & (cells[..., 0] < raster.shape[1]) & (cells[..., 1] < raster.shape[0])
    raster[cells[on][:, 1], cells[on][:, 0]] = kind


def _beside(lane: Lane, left_m: float, start_m: float, end_m: float) -> Doubles:
    """What lies beside a lane's line at an offset, (n, 2)."""
    poses = lane.line.poses(np.linspace(start_m, end_m, max(int((end_m - start_m) / 1.5), 1) + 1))
    return np.asarray(poses[:, :2] + left_m * np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], 1))


def _band(lane: Lane, left_m: float, right_m: float) -> Doubles:
    """The outline (n, 2) of what lies between two offsets of a lane's line."""
    end = lane.line.length_m
    return np.concatenate([_beside(lane, left_m, 0.0, end), _beside(lane, right_m, 0.0, end)[::-1]])


def _lines(lane: Lane, thin_m: float) -> list[tuple[Doubles, Class]]:
    """The middles of a lane's painted lines (n, 2). Two lines of a double one are as far apart as each is wide."""
    found = []
    for side, marking in ((1, lane.left_marking), (-1, lane.right_marking)):
        edge, end = side * lane.width_m / 2, lane.line.length_m
        if marking == Marking.SOLID:
            found.append((_beside(lane, edge, 0.0, end), Class.LINE))
        elif marking == Marking.DASHED:
            for start in np.arange(1.0, end - _DASH_M, _DASH_M + _GAP_M):
                found.append((_beside(lane, edge, float(start), float(start) + _DASH_M), Class.LINE))
        elif marking == Marking.DOUBLE_YELLOW:
            found += [(_beside(lane, edge + away, 0.0, end), Class.YELLOW_LINE) for away in (-thin_m, thin_m)]
    return found

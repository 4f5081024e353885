"""What comes back to a LiDAR: range, intensity, class and instance of every ray."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stalwart.drive.chance import mixed
from stalwart.drive.compiled import Array, Real, Whole, free_kernel, leaf
from stalwart.drive.sensors import cast
from stalwart.drive.sensors.cast import COSINE, EYE_X, EYE_Y, HALF_LENGTH, HALF_WIDTH, SINE
from stalwart.drive.sensors.records import Boxes, Land, Rays
from stalwart.drive.sensors.surface import in_tiles

FAINTEST = 0.1
"""The reflectivity that is just seen at the greatest range in clear air, when it is met squarely."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_16, _32, _48 = (np.uint64(n) for n in (16, 32, 48))
_LOW = np.uint64(0xFFFF)


class Echoes(NamedTuple):
    """(V, channels, azimuths) each, written."""

    range_m: Array
    intensity: Array
    kind: Array
    instance: Array


class Faults(NamedTuple):
    """How good a LiDAR is."""

    greatest_m: float
    deviation_m: float
    dropout: float
    air: float
    """By how much the weather counts: 1 as it is, 0 not at all."""


@leaf
def squareness(squares: Array, near: Array, slots: Array, k: Whole, columns: Array, first: Whole, last: Whole) -> None:
    """For each column of slot k the cosine between the ground ray and the wall's normal."""
    for u in range(np.uint64(first), np.uint64(last)):
        ahead = slots[k, COSINE] * columns[0, u] + slots[k, SINE] * columns[1, u]
        aside = slots[k, COSINE] * columns[1, u] - slots[k, SINE] * columns[0, u]
        away = max(0.0, min(1e5, np.float64(near[k, u])))
        x, y = slots[k, EYE_X] + away * ahead, slots[k, EYE_Y] + away * aside
        end = abs(x) - slots[k, HALF_LENGTH] > abs(y) - slots[k, HALF_WIDTH]
        squares[k, u] = np.float32(abs(ahead) if end else abs(aside))


@leaf
def listen(
    view: Whole, range_m: Array, intensity: Array, kind: Array, instance: Array, depth: Array, code: Array,
    squares: Array, owner: Array, box_kind: Array, box_instance: Array, w: Whole, slopes: Array, base: Array,
    rate: Array, raster: Array, shape: Array, map_: Whole, albedo: Array, key: Whole, greatest: Real, deviation: Real,
    dropout: Real, extinction: Real, backscatter: Real,
) -> None:  # fmt: skip
    """Echoes of all rays of one view.

    Noise is near normal: the sum of four uniform numbers, so that none is further off than 3.5 deviations.
    """
    height, width = code.shape
    for v in range(np.uint64(height)):
        slope = np.float32(slopes[v])
        longer = np.float32(math.sqrt(1.0 + slope * slope))
        for u in range(np.uint64(width)):
            what, away = code[v, u], depth[v, u]
            meets, number, square = 0, 0, abs(slope) / longer
            if what >= 0:
                b = owner[what >> 1]
                meets, number = int(box_kind[w, b]), int(box_instance[w, b])
                if what & 1 == 0:
                    square = squares[what >> 1, u] / longer
            elif what != cast.SKY:
                x, y = base[0] + rate[0, u] * away, base[1] + rate[1, u] * away
                inside = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
                meets = (
                    int(raster[map_, in_tiles(np.int32(y), np.int32(x), np.int32((shape[1] + 7) >> 3))])
                    if inside
                    else 1
                )
            far = away * longer
            dice = mixed(key + (v * np.uint64(width) + u) * _GOLDEN)
            more = mixed(dice)
            four = (dice & _LOW) + ((dice >> _16) & _LOW) + ((dice >> _32) & _LOW) + (dice >> _48)
            error = (np.float32(four) * np.float32(2.0**-16) - np.float32(2.0)) * np.float32(math.sqrt(3.0))
            chance = np.float32(more & _LOW) * np.float32(2.0**-16)
            scattered = np.float32((more >> _16) & _LOW) * np.float32(2.0**-16)
            back, strength = far + error * deviation, np.float32(0.0)
            if meets > 0 and far < greatest:
                kept = np.float32(math.exp(-2.0 * extinction * far)) if extinction > 0 else np.float32(1.0)
                strength = albedo[meets] * square * kept
            power = strength * (greatest / far) ** 2
            if scattered < backscatter:  # a drop close by answers first
                place = np.float32((more >> _32) & _LOW) * np.float32(2.0**-16)
                drop = np.float32(1.0) + np.float32(12.0) * place * place
                if drop < far:
                    back, strength, power, meets, number = drop, np.float32(0.02), np.float32(1.0), 0, 0
            heard = (power >= np.float32(FAINTEST)) & (chance >= dropout) & (back > 0)
            range_m[view, v, u] = back if heard else np.float32(0.0)
            intensity[view, v, u] = strength if heard else np.float32(0.0)
            kind[view, v, u] = np.uint8(meets) if heard else np.uint8(0)
            instance[view, v, u] = np.uint16(number) if heard else np.uint16(0)


@free_kernel
def scan_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, out: Echoes, faults: Faults, air: Array,
    albedo: Array, metres_per_square: Real,
) -> None:  # fmt: skip
    """The views from first to last.

    Args:
        air: (styles, 2) float32, extinction for each metre and the chance of an echo from a drop or a flake.
        albedo: (32,) float32, reflectivity by class.
    """
    worlds, count_boxes, per_metre = boxes.x.shape[0], boxes.x.shape[1], 1.0 / metres_per_square
    height, width = out.range_m.shape[1], out.range_m.shape[2]
    slots, owner = np.empty((count_boxes, cast.SLOT_FIELDS)), np.empty(count_boxes, np.int32)
    near, squares = np.empty((count_boxes, width), np.float32), np.empty((count_boxes, width), np.float32)
    spans, low, high = np.empty((count_boxes, 2), np.int32), np.empty(width, np.float32), np.empty(width, np.float32)
    forward, left, base, rate = np.empty(8), np.empty(8), np.empty(2), np.empty((2, width))
    depth, code = np.empty((height, width), np.float32), np.empty((height, width), np.int32)
    reach = np.empty((2, height), np.int64)
    for view in range(first, last):
        w = view % worlds
        eye_z, ego, map_, style = rays.eyes[view, 2], rays.ego[w], land.map_of_world[w], land.style[w]
        count = cast.place(
            slots, owner, rays.eyes, view, ego, w, boxes.x, boxes.y, boxes.z0, boxes.yaw, boxes.length, boxes.width,
            boxes.height, boxes.alive, faults.greatest_m,
        )  # fmt: skip
        begin = 1 if ego >= 0 and boxes.alive[w, ego] else 0
        cast.cast_ground(depth, code, reach, rays.slopes, eye_z)
        cast.cast_boxes(
            depth, code, reach, near, slots, begin, count, rays.columns, rays.slopes, rays.lens, eye_z, low, high,
            forward, left, spans,
        )  # fmt: skip
        for k in range(begin, count):
            if spans[k, 0] < spans[k, 1]:
                squareness(squares, near, slots, k, rays.columns, spans[k, 0], spans[k, 1])
        base[0] = (rays.eyes[view, 0] - land.origin[map_, 0]) * per_metre
        base[1] = (rays.eyes[view, 1] - land.origin[map_, 1]) * per_metre
        cosine, sine = math.cos(rays.eyes[view, 3]) * per_metre, math.sin(rays.eyes[view, 3]) * per_metre
        for u in range(width):
            rate[0, u] = cosine * rays.columns[0, u] - sine * rays.columns[1, u]
            rate[1, u] = sine * rays.columns[0, u] + cosine * rays.columns[1, u]
        listen(
            view, out.range_m, out.intensity, out.kind, out.instance, depth, code, squares, owner, boxes.kind,
            boxes.instance, w, rays.slopes, base, rate, land.raster, land.shape, map_, albedo, rays.keys[view],
            np.float32(faults.greatest_m), np.float32(faults.deviation_m), np.float32(faults.dropout),
            np.float32(air[style, 0] * faults.air), np.float32(air[style, 1] * faults.air),
        )  # fmt: skip

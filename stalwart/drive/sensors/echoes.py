"""What comes back to a LiDAR: range, intensity, class and instance of every ray."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stalwart.drive.chance import GOLDEN, mixed
from stalwart.drive.compiled import Array, Real, Whole, free_kernel, leaf, part
from stalwart.drive.sensors import cast
from stalwart.drive.sensors.cast import COSINE, EYE_X, EYE_Y, HALF_LENGTH, HALF_WIDTH, SINE
from stalwart.drive.sensors.records import Boxes, Empty, Land, Rays
from stalwart.drive.sensors.shading import clear
from stalwart.drive.sensors.surface import in_tiles

FAINTEST = 0.1
"""The reflectivity that is just seen at the greatest range in clear air, when it is met squarely."""
_FAINTEST, _ZERO, _FAR, _LONGEST = np.float32(FAINTEST), np.float32(0), np.float32(1e5), 1e6
_8, _16, _24, _255, _HALF = (np.uint32(n) for n in (8, 16, 24, 255, 0xFFFF))
_32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_FIRST, _EVERYWHERE = np.int64(0), np.float64(1e9)
_15, _MIX_1, _MIX_2, _ODD = (np.uint32(n) for n in (15, 0x7FEB352D, 0x846CA68B, 0x9E3779B9))


class Echoes(NamedTuple):
    """(V, channels, azimuths) each, written."""

    range_m: Array
    intensity: Array
    kind: Array
    instance: Array


class Ears(NamedTuple):
    """Scratch of one view of B boxes, H channels and W azimuths."""

    slots: Array
    owner: Array
    near: Array
    squares: Array
    spans: Array
    low: Array
    high: Array
    forward: Array
    left: Array
    base: Array
    rate: Array
    meets: Array
    places: Array
    dice: Array
    light: Array
    back: Array
    depth: Array
    code: Array
    reach: Array


def new_ears(boxes: int, height: int, width: int, empty: Empty) -> Ears:
    """Scratch made by `empty(shape, dtype)`."""
    flat = (width,)
    return Ears(
        empty((boxes, cast.SLOT_FIELDS), np.float64), empty((boxes,), np.int32), empty((boxes, width), np.float32),
        empty((boxes, width), np.float32), empty((boxes, 2), np.int32), empty(flat, np.float32),
        empty(flat, np.float32), empty((4,), np.float64), empty((4,), np.float64), empty((3,), np.float64),
        empty((2, width), np.float32), empty(flat, np.uint8), empty(flat, np.int32), empty((2, width), np.uint32),
        empty(flat, np.float32), empty(flat, np.float32), empty((1, height, width), np.float32),
        empty((height, width), np.int32), empty((2, height), np.int64),
    )  # fmt: skip


class Faults(NamedTuple):
    """How good a LiDAR is."""

    greatest_m: float
    deviation_m: float
    dropout: float
    air: float
    """By how much the weather counts: 1 as it is, 0 not at all."""


@part
def squareness(squares: Array, near: Array, slots: Array, k: Whole, columns: Array, first: Whole, last: Whole) -> None:
    """For each column of slot k the cosine between the ground ray and the wall's normal."""
    cosine, sine = np.float32(slots[k, COSINE]), np.float32(slots[k, SINE])
    eye_x, eye_y = np.float32(slots[k, EYE_X]), np.float32(slots[k, EYE_Y])
    half_length, half_width = np.float32(slots[k, HALF_LENGTH]), np.float32(slots[k, HALF_WIDTH])
    for u in range(np.uint64(first), np.uint64(last)):
        ahead = cosine * columns[0, u] + sine * columns[1, u]
        aside = cosine * columns[1, u] - sine * columns[0, u]
        away = max(_ZERO, min(_FAR, near[k, u]))
        x, y = eye_x + away * ahead, eye_y + away * aside
        squares[k, u] = abs(ahead) if abs(x) - half_length > abs(y) - half_width else abs(aside)


@part
def ground_echoes(
    meets: Array, places: Array, raster: Array, shape: Array, map_: Whole, away: Real, base: Array, rate: Array
) -> None:
    """The ground's classes in one row of rays.

    Args:
        meets: (W,) uint8, written.
        places: (W,) int32, scratch.
        base: (3,) the raster square that the sensor stands above, and its height in m.
        rate: (2, W) float32, squares for each metre of depth.
    """
    # Counted from the square that holds the sensor: float32 is then fine enough however large the map is.
    column, row = np.int32(math.floor(base[0])), np.int32(math.floor(base[1]))
    x_0, y_0 = np.float32(base[0] - math.floor(base[0])), np.float32(base[1] - math.floor(base[1]))
    wide, tall, tiles = np.int32(shape[1]), np.int32(shape[0]), np.int32((shape[1] + 7) >> 3)
    far = np.float32(min(away, _LONGEST))
    for u in range(np.uint64(meets.shape[0])):
        x = np.int32(column + np.int32(np.floor(x_0 + rate[0, u] * far)))
        y = np.int32(row + np.int32(np.floor(y_0 + rate[1, u] * far)))
        inside = (x >= 0) & (y >= 0) & (x < wide) & (y < tall)
        place = np.int32(in_tiles(y, x, tiles))
        places[u] = place if inside else np.int32(-1)
    for u in range(np.uint64(meets.shape[0])):
        place = places[u]
        kind = raster[map_, np.uint64(max(place, 0))]
        meets[u] = kind if place >= 0 else np.uint8(1)


@part
def scattered(x: Whole) -> Whole:
    """A hash of a uint32 onto a uint32, one to one: lowbias32 of Wellons, "Prospecting for hash functions" (2018)."""
    x = np.uint32(np.uint32(x ^ np.uint32(x >> _16)) * _MIX_1)
    x = np.uint32(np.uint32(x ^ np.uint32(x >> _15)) * _MIX_2)
    return np.uint32(x ^ np.uint32(x >> _16))


@part
def draw(dice: Array, key: Whole, row: Whole, first: Whole, last: Whole) -> None:
    """Two random numbers (2, W) uint32 for each ray of a row from column `first` to `last`.

    Splitmix64 says where the row's two counts begin, and hashes of 32 bits, eight at a time, what each ray draws.
    """
    start = mixed(np.uint64(key + np.uint64(row) * GOLDEN))
    for k in range(np.uint64(2)):
        begin = np.uint32(start & _LOW) if k == 0 else np.uint32(start >> _32)
        for u in range(np.uint64(first), np.uint64(last)):
            dice[k, u] = scattered(np.uint32(begin + np.uint32(np.uint32(u) * _ODD)))


@leaf
def listen(
    view: Whole, range_m: Array, intensity: Array, kind: Array, instance: Array, depth: Array, code: Array, reach:
    Array, squares: Array, owner: Array, box_kind: Array, box_instance: Array, w: Whole, slopes: Array, base: Array,
    rate: Array, raster: Array, shape: Array, map_: Whole, albedo: Array, key: Whole, greatest: Real, deviation: Real,
    dropout: Real, extinction: Real, backscatter: Real, meets: Array, places: Array, dice: Array, light: Array,
    back: Array,
) -> None:  # fmt: skip
    """Echoes of all rays of one view.

    Of a ray's 64 random bits four times eight make the error of its range, near normal: the sum of four uniform
    numbers, so that none is further off than 3.5 deviations; sixteen say whether it is lost, sixteen whether it meets a
    drop.

    Args:
        reach: (2, H), between which columns each row may meet boxes.
        meets: (W,) uint8, places: (W,) int32, dice: (2, W) uint32, light, back: (W,) float32, scratch: the class that
            is met, the raster's squares, random numbers, the strength of the echo, its range.
    """
    height, width = code.shape
    spread, reaches = deviation * np.float32(math.sqrt(3.0)), greatest * greatest / _FAINTEST
    for v in range(np.uint64(height)):
        slope = np.float32(slopes[v])
        first, last = np.uint64(0), np.uint64(width)
        if slope >= 0 and backscatter == 0:  # nothing but boxes can answer
            first, last = np.uint64(reach[0, v]), np.uint64(max(reach[0, v], reach[1, v]))
            for u in range(np.uint64(width)):
                range_m[view, v, u] = _ZERO
            for u in range(np.uint64(width)):
                intensity[view, v, u] = _ZERO
            for u in range(np.uint64(width)):
                kind[view, v, u] = np.uint8(0)
        longer = np.float32(math.sqrt(1.0 + slope * slope))
        square, back_wall = abs(slope) / longer, cast.behind_boxes(slope, base[2])
        if slope < 0:
            ground_echoes(meets, places, raster, shape, map_, -base[2] / slope, base, rate)
            for u in range(np.uint64(width)):
                light[u] = albedo[np.uint64(meets[u])] * square
        else:
            for u in range(first, last):
                light[u] = _ZERO
            for u in range(first, last):
                meets[u] = np.uint8(0)
        for u in range(np.uint64(width)):
            instance[view, v, u] = np.uint16(0)
        for u in range(np.uint64(reach[0, v]), np.uint64(reach[1, v])):
            if depth[0, v, u] < back_wall:
                what = code[v, u]
                k = np.uint64(what >> 1)
                b = owner[k]
                meets[u], instance[view, v, u] = box_kind[w, b], box_instance[w, b]
                light[u] = albedo[meets[u]] * (squares[k, u] / longer if what & 1 == 0 else square)
        draw(dice, key, v, first, last)
        if extinction > 0:
            for u in range(first, last):
                light[u] *= clear(depth[0, v, u] * longer, np.float32(2.0) * extinction)
        # One array written by each loop: of two the compiler cannot tell whether they overlap, and goes one by one.
        for u in range(first, last):
            number = dice[0, u]
            low = np.uint32(np.uint32(number & _255) + np.uint32(np.uint32(number >> _8) & _255))
            high = np.uint32(np.uint32(np.uint32(number >> _16) & _255) + np.uint32(number >> _24))
            error = np.float32(np.int32(np.uint32(low + high))) * np.float32(2.0**-8) - np.float32(2.0 - 2.0**-7)
            back[u] = depth[0, v, u] * longer + error * spread
        for u in range(first, last):
            chance = np.float32(np.int32(np.uint32(dice[1, u] & _HALF))) * np.float32(2.0**-16)
            far = depth[0, v, u] * longer
            heard = (light[u] * reaches >= far * far) & (chance >= dropout) & (back[u] > _ZERO) & (far < greatest)
            places[u] = np.int32(-1) if heard else np.int32(0)
        for u in range(first, last):
            length = back[u]
            range_m[view, v, u] = length if places[u] < 0 else _ZERO
        for u in range(first, last):
            strength = light[u]
            intensity[view, v, u] = strength if places[u] < 0 else _ZERO
        for u in range(first, last):
            kind[view, v, u] = np.uint8(np.int32(meets[u]) & places[u])
        for u in range(np.uint64(reach[0, v]), np.uint64(reach[1, v])):
            instance[view, v, u] = np.uint16(np.int32(instance[view, v, u]) & places[u])
        if backscatter > 0:
            for u in range(first, last):
                if np.float32(dice[1, u] >> _16) * np.float32(2.0**-16) < backscatter:
                    answer = mixed((np.uint64(dice[1, u]) << _32) | np.uint64(dice[0, u]))
                    place = np.float32(np.uint32(answer >> _32)) * np.float32(2.0**-32)
                    drop = np.float32(1.0) + np.float32(12.0) * place * place
                    if drop < depth[0, v, u] * longer:  # a drop close by answers first
                        lost = np.float32(dice[1, u] & _HALF) * np.float32(2.0**-16) < dropout
                        range_m[view, v, u] = _ZERO if lost else drop
                        intensity[view, v, u] = _ZERO if lost else np.float32(0.02)
                        kind[view, v, u], instance[view, v, u] = np.uint8(0), np.uint16(0)


@part
def scan_view(
    view: Whole, boxes: Boxes, land: Land, rays: Rays, out: Echoes, faults: Faults, air: Array, albedo: Array,
    metres_per_square: Real, s: Ears,
) -> None:  # fmt: skip
    """One view, see `scan_views`."""
    w, width, per_metre = view % boxes.x.shape[0], out.range_m.shape[2], 1.0 / metres_per_square
    eye_z, ego, map_, style = rays.eyes[view, 2], rays.ego[w], land.map_of_world[w], land.style[w]
    count = cast.place(
        s.slots, s.owner, rays.eyes, view, ego, w, boxes.x, boxes.y, boxes.z0, boxes.yaw, boxes.length, boxes.width,
        boxes.height, boxes.alive, faults.greatest_m, _EVERYWHERE,
    )  # fmt: skip
    begin = 1 if ego >= 0 and boxes.alive[w, ego] else 0
    cast.cast_ground(s.depth, _FIRST, s.reach, rays.slopes, eye_z)
    cast.cast_boxes(
        s.depth, _FIRST, s.code, s.reach, s.near, s.slots, begin, count, rays.columns, rays.slopes, rays.lens,
        eye_z, s.low, s.high, s.forward, s.left, s.spans,
    )  # fmt: skip
    for k in range(begin, count):
        if s.spans[k, 0] < s.spans[k, 1]:
            squareness(s.squares, s.near, s.slots, k, rays.columns, s.spans[k, 0], s.spans[k, 1])
    s.base[0] = (rays.eyes[view, 0] - land.origin[map_, 0]) * per_metre
    s.base[1] = (rays.eyes[view, 1] - land.origin[map_, 1]) * per_metre
    s.base[2] = eye_z
    cosine, sine = math.cos(rays.eyes[view, 3]) * per_metre, math.sin(rays.eyes[view, 3]) * per_metre
    for u in range(width):
        s.rate[0, u] = cosine * rays.columns[0, u] - sine * rays.columns[1, u]
        s.rate[1, u] = sine * rays.columns[0, u] + cosine * rays.columns[1, u]
    listen(
        view, out.range_m, out.intensity, out.kind, out.instance, s.depth, s.code, s.reach, s.squares, s.owner,
        boxes.kind, boxes.instance, w, rays.slopes, s.base, s.rate, land.raster, land.shape, map_, albedo,
        rays.keys[view], np.float32(faults.greatest_m), np.float32(faults.deviation_m), np.float32(faults.dropout),
        np.float32(air[style, 0] * faults.air), np.float32(air[style, 1] * faults.air), s.meets, s.places, s.dice,
        s.light, s.back,
    )  # fmt: skip


@leaf
def hear_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, out: Echoes, faults: Faults, air: Array,
    albedo: Array, metres_per_square: Real, ears: Ears,
) -> None:  # fmt: skip
    """`scan_views` as a leaf, so that no array taken out of a bundle is counted."""
    for view in range(first, last):
        scan_view(view, boxes, land, rays, out, faults, air, albedo, metres_per_square, ears)


@free_kernel
def scan_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, out: Echoes, faults: Faults, air: Array,
    albedo: Array, metres_per_square: Real, ears: Ears,
) -> None:  # fmt: skip
    """The views from first to last.

    Args:
        air: (styles, 2) float32, extinction for each metre and the chance of an echo from a drop or a flake.
        albedo: (32,) float32, reflectivity by class.
    """
    hear_views(first, last, boxes, land, rays, out, faults, air, albedo, metres_per_square, ears)

"""Which texel a ray meets: on a box's wall or roof, on the ground, in the sky.

Textures lie in one bank of equal squares, each with its rip-map: halved any number of times in width and in height by
themselves. A ray reads the texel of the level at which a texel is at least as long and as high as the pixel's
footprint on the surface, so that what it reads is the mean over an area no smaller than the pixel: finer patterns
fade and cannot flicker.

A rip-map of a texture of S x S takes a square of 2S x 2S: width level i starts at column 2S - 2S / 2**i, height level
j at row 2S - 2S / 2**j.
"""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf
from stalwart.drive.sensors.cast import COSINE, EYE_X, EYE_Y, HALF_LENGTH, HALF_WIDTH, SINE, TOP, UNDER

EIGHTH, SQUARES, SEVEN = np.int32(3), np.int32(6), np.int32(7)

FRONT, REAR, LEFT, RIGHT, CAP = range(5)
"""A box's faces as skins count them; roof and underside share one."""

# What a slot wears, in float32: texels for each metre upwards, along x and along y of a cap; how much of the sun each
# face gets (five numbers) and of the sky's light (five).
PER_UP, PER_X, PER_Y, SUNLIT, SKYLIT = 0, 1, 2, 3, 8
WEAR_FIELDS = 13
# And in int32: class, instance, tint, rows of texels up the wall, the cap's layer.
KIND, INSTANCE, TINT, ROWS, CAP_LAYER, CAP_X, CAP_Y = range(7)
WEAR_NUMBERS = 7


@leaf
def level_of(texels: Real, most: Whole) -> Whole:
    """The first level whose texels are no shorter than a footprint of so many texels."""
    level, length = 0, 1.0
    while length < texels and level < most:
        level += 1
        length *= 2.0
    return level


@leaf
def repeats(length: Real, tile: Real) -> Real:
    """How many whole tiles a side is given; 1 where the tile is 0, which means that the texture is stretched."""
    return max(1.0, np.floor(length / tile + 0.5)) if tile > 0 else 1.0


@leaf
def dress(
    wear: Array, numbers: Array, walls: Array, faces: Array, slots: Array, k: Whole, near: Array, columns: Array,
    steps: Array, first: Whole, last: Whole, layers: Array, snow: Whole, tiles: Array, mirrored: Array, suit: Whole,
    slope_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """For each column of a slot the texel column of its wall, its face and its height level.

    Args:
        walls: (boxes, W) int32, row k written: index in the bank of the wall's texel column, less its rows.
        faces: (boxes, W) int32, row k written: face | height level << 3.
        layers: (skins, 2, 5) int32, the faces' layers in the bank; row `suit` is worn.
        tiles: (skins, 2) float32, width and height in m of one tile; 0 stretches the texture.
        bits: the textures' size is 2**bits.
    """
    size = 1 << bits
    cosine, sine = slots[k, COSINE], slots[k, SINE]
    half_length, half_width = slots[k, HALF_LENGTH], slots[k, HALF_WIDTH]
    tall = slots[k, TOP] - slots[k, UNDER]
    rows = repeats(tall, tiles[suit, 1]) * size
    per_length = repeats(2 * half_length, tiles[suit, 0]) * size / (2 * half_length)
    per_width = repeats(2 * half_width, tiles[suit, 0]) * size / (2 * half_width)
    wear[k, PER_UP], wear[k, PER_X], wear[k, PER_Y] = rows / tall, per_length, per_width
    numbers[k, ROWS], numbers[k, CAP_LAYER] = np.int32(rows), layers[suit, snow, CAP]
    numbers[k, CAP_X] = np.int32(per_length * 2 * half_length + 0.5) - 1
    numbers[k, CAP_Y] = np.int32(per_width * 2 * half_width + 0.5) - 1
    for u in range(np.uint64(first), np.uint64(last)):
        away = max(0.0, min(1e5, np.float64(near[k, u])))
        dx = cosine * columns[0, u] + sine * columns[1, u]
        dy = cosine * columns[1, u] - sine * columns[0, u]
        step_x = cosine * steps[0, u] + sine * steps[1, u]
        step_y = cosine * steps[1, u] - sine * steps[0, u]
        x, y = slots[k, EYE_X] + away * dx, slots[k, EYE_Y] + away * dy
        if abs(x) - half_length > abs(y) - half_width:
            face = FRONT if x > 0 else REAR
            across = half_width + y if x > 0 else half_width - y
            side, per = 2 * half_width, per_width
            stride = away * (step_y - dy * step_x / dx)
        else:
            face = LEFT if y > 0 else RIGHT
            across = half_length + x if mirrored[suit] or y < 0 else half_length - x
            side, per = 2 * half_length, per_length
            stride = away * (step_x - dx * step_y / dy)
        level = level_of(abs(stride) * per, bits)
        place = np.int32(min(max(across, 0.0), side * 0.999999) * per) & (size - 1)
        begin = 2 * size - (2 * size >> level)
        walls[k, u] = (layers[suit, snow, face] << (2 * bits + 2)) + begin + (place >> level)
        faces[k, u] = face | level_of(away * slope_step * wear[k, PER_UP], bits) << 3


@leaf
def on_wall(texel: Whole, wall: Whole, up: Real, rows: Whole, bits: Whole) -> Whole:
    """Index in the bank of a wall's texel at `up` texels above the box's underside."""
    size = 1 << bits
    level = wall >> 3
    row = rows - 1 - min(max(np.int32(up), 0), rows - 1)
    return texel + ((2 * size - (2 * size >> level) + ((row & (size - 1)) >> level)) << (bits + 1))


@leaf
def on_cap(
    wear: Array, numbers: Array, slots: Array, k: Whole, away: Real, dx: Real, dy: Real, across: Real, along: Real,
    bits: Whole,
) -> Whole:  # fmt: skip
    """Index in the bank of the texel of a roof or an underside that a ray meets.

    The texture's upper edge lies at the box's front and its left edge at the box's left, as seen from above.

    Args:
        across, along: the pixel's footprint in m, across and along the ray.
    """
    size = 1 << bits
    ray_x, ray_y = slots[k, COSINE] * dx + slots[k, SINE] * dy, slots[k, COSINE] * dy - slots[k, SINE] * dx
    length = np.sqrt(ray_x * ray_x + ray_y * ray_y)
    x, y = slots[k, EYE_X] + away * ray_x, slots[k, EYE_Y] + away * ray_y
    share_x, share_y = abs(ray_x) / length, abs(ray_y) / length
    level_x = level_of((share_x * along + share_y * across) * wear[k, PER_X], bits)
    level_y = level_of((share_y * along + share_x * across) * wear[k, PER_Y], bits)
    row = min(max(np.int32((slots[k, HALF_LENGTH] - x) * wear[k, PER_X]), 0), numbers[k, CAP_X]) & (size - 1)
    column = min(max(np.int32((slots[k, HALF_WIDTH] - y) * wear[k, PER_Y]), 0), numbers[k, CAP_Y]) & (size - 1)
    row = 2 * size - (2 * size >> level_x) + (row >> level_x)
    column = 2 * size - (2 * size >> level_y) + (column >> level_y)
    return (numbers[k, CAP_LAYER] << (2 * bits + 2)) + (row << (bits + 1)) + column


@leaf
def in_tiles(y: Whole, x: Whole, tiles: Whole) -> Whole:
    """Where square (y, x) of a tiled raster lies, of so many tiles side by side; in int32."""
    # Numba makes 64 bits of every sum: each is made 32 again, so that eight go through one instruction.
    tile = np.int32(np.int32(np.int32(y >> EIGHTH) * tiles) + np.int32(x >> EIGHTH))
    row = np.int32(np.int32(y & SEVEN) << EIGHTH)
    return np.int32(np.int32(np.int32(tile << SQUARES) | row) | np.int32(x & SEVEN))


@leaf
def ground_row(
    places: Array,
    taps: Array,
    textures: Array,
    r: Whole,
    base: Array,
    rate: Array,
    table: Array,
    wide: Whole,
    tall: Whole,
    level: Whole,
    away: Real,
    nearer: Real,
    further: Real,
    per_square: Real,
    texture_level: Whole,
    bits: Whole,
) -> None:
    """Where the rays of one row meet the ground's raster, the levels of its paint, and the ground's textures.

    Args:
        places: (STRIP, W) int32, row r written: index in the raster, or -1 beyond its edge.
        taps: (2, STRIP, W) int32, written: the same in the paint's level, a quarter of a pixel above and below.
        textures: (STRIP, W) int32, written: index within a layer of the bank.
        base, rate: (2,) and (2, W) float64: a ray at depth d lies at base + rate * d, in raster squares.
        per_square: texels to a raster square.
    """
    size = 1 << bits
    begin = np.int32(2 * size - (2 * size >> texture_level))
    mask = np.int32(size - 1)
    start, tiles = np.int32(table[level, 0]), np.int32(table[level, 1])
    x0, y0 = base[0], base[1]
    x_0, y_0 = np.float32(base[0]), np.float32(base[1])
    scale = np.float32(per_square)
    fine, beside = np.int32(level), np.int32((wide + 7) >> 3)
    near, far, middle = np.float32(nearer), np.float32(further), np.float32(away)
    x_most, y_most = np.float32(wide), np.float32(tall)
    coarse, row_bits = np.int32(texture_level), np.int32(bits + 1)
    for u in range(np.uint64(places.shape[1])):
        x, y = x0 + rate[0, u] * away, y0 + rate[1, u] * away
        inside = (x >= 0) & (y >= 0) & (x < wide) & (y < tall)
        index = np.int32(in_tiles(np.int32(y), np.int32(x), beside))
        places[r, u] = index if inside else np.int32(-1)
    for u in range(np.uint64(places.shape[1])):
        rate_x, rate_y = np.float32(rate[0, u]), np.float32(rate[1, u])
        x_1, y_1 = x_0 + rate_x * near, y_0 + rate_y * near
        in_1 = (x_1 >= 0) & (y_1 >= 0) & (x_1 < x_most) & (y_1 < y_most)
        at_1 = np.int32(start + in_tiles(np.int32(np.int32(y_1) >> fine), np.int32(np.int32(x_1) >> fine), tiles))
        taps[0, r, u] = at_1 if in_1 else np.int32(-1)
        x_2, y_2 = x_0 + rate_x * far, y_0 + rate_y * far
        in_2 = (x_2 >= 0) & (y_2 >= 0) & (x_2 < x_most) & (y_2 < y_most)
        at_2 = np.int32(start + in_tiles(np.int32(np.int32(y_2) >> fine), np.int32(np.int32(x_2) >> fine), tiles))
        taps[1, r, u] = at_2 if in_2 else np.int32(-1)
        column = np.int32(np.int32(np.int32((x_0 + rate_x * middle) * scale) & mask) >> coarse)
        row = np.int32(np.int32(np.int32((y_0 + rate_y * middle) * scale) & mask) >> coarse)
        textures[r, u] = np.int32(np.int32(np.int32(np.int32(begin + row) << row_bits) + begin) + column)

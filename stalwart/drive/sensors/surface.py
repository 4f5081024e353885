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

from stalwart.drive.compiled import Array, Real, Whole, leaf, part
from stalwart.drive.sensors.cast import COSINE, EYE_X, EYE_Y, HALF_LENGTH, HALF_WIDTH, SINE, TOP, UNDER

_BELOW_TWO, _MANTISSA, _BIAS = np.int32(0x7FFFFF), np.int32(23), np.int32(127)
"""Of a float32: the mantissa's bits, how many they are, and what is added to the exponent."""
EIGHTH, SQUARES, EIGHT = np.int32(3), np.int32(6), np.int32(8)
_FACE_BITS, _31 = np.int32(3), np.int32(31)
_ZERO, _FAR, _INSIDE = np.float32(0), np.float32(1e5), np.float32(2 * 0.999999)

FRONT, REAR, LEFT, RIGHT, CAP = range(5)
"""A box's faces as skins count them; roof and underside share one."""

# What a slot wears, in float32: texels for each metre upwards, along x and along y of a cap; how much of the sun each
# face gets (five numbers) and of the sky's light (five); by how many texels the eye is above the underside.
PER_UP, PER_X, PER_Y, SUNLIT, SKYLIT, LIFT = 0, 1, 2, 3, 8, 13
WEAR_FIELDS = 14
# And in int32: class, instance, tint, rows of texels up the wall, the cap's layer.
KIND, INSTANCE, TINT, ROWS, CAP_LAYER, CAP_X, CAP_Y = range(7)
WEAR_NUMBERS = 7


@part
def level_of(texels: Real, most: Whole) -> Whole:
    """The first level, of 0 to `most`, whose texels are no shorter than a footprint of so many texels.

    That is the rounded-up logarithm to the base of 2, which stands in a float's exponent.
    """
    raised = np.int32(np.float32(texels).view(np.int32) + _BELOW_TWO)
    return min(max(np.int32(np.int32(raised >> _MANTISSA) - _BIAS), np.int32(0)), np.int32(most))


@part
def repeats(length: Real, tile: Real) -> Real:
    """How many whole tiles a side is given; 1 where the tile is 0, which means that the texture is stretched."""
    return max(1.0, np.floor(length / tile + 0.5)) if tile > 0 else 1.0


@leaf
def dress(
    wear: Array, numbers: Array, walls: Array, faces: Array, slots: Array, k: Whole, near: Array, columns: Array,
    steps: Array, first: Whole, last: Whole, layers: Array, snow: Whole, tiles: Array, mirrored: Array, suit: Whole,
    eye_z: Real, slope_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """For each column of a slot the texel column of its wall, its face and its height level.

    Args:
        walls: (boxes, W) int32, row k written: index in the bank of the uppermost texel of the wall's texel column.
        faces: (boxes, W) int32, row k written: face | height level << 3.
        layers: (skins, 2, 5) int32, the faces' layers in the bank; row `suit` is worn.
        tiles: (skins, 2) float32, width and height in m of one tile; 0 stretches the texture.
        bits: the textures' size is 2**bits.
    """
    size = 1 << bits
    cosine, sine = np.float32(slots[k, COSINE]), np.float32(slots[k, SINE])
    half_length, half_width = np.float32(slots[k, HALF_LENGTH]), np.float32(slots[k, HALF_WIDTH])
    eye_x, eye_y = np.float32(slots[k, EYE_X]), np.float32(slots[k, EYE_Y])
    tall = slots[k, TOP] - slots[k, UNDER]
    rows = repeats(tall, tiles[suit, 1]) * size
    per_length = np.float32(repeats(2 * half_length, tiles[suit, 0]) * size / (2 * half_length))
    per_width = np.float32(repeats(2 * half_width, tiles[suit, 0]) * size / (2 * half_width))
    wear[k, PER_UP], wear[k, PER_X], wear[k, PER_Y] = rows / tall, per_length, per_width
    wear[k, LIFT] = (eye_z - slots[k, UNDER]) * rows / tall
    numbers[k, ROWS], numbers[k, CAP_LAYER] = np.int32(rows), layers[suit, snow, CAP]
    numbers[k, CAP_X] = np.int32(per_length * 2 * half_length + 0.5) - 1
    numbers[k, CAP_Y] = np.int32(per_width * 2 * half_width + 0.5) - 1
    begins, row_bits = np.int32(2 * size), np.int32(bits + 1)
    area = 2 * bits + 2
    front, rear = np.int32(layers[suit, snow, FRONT] << area), np.int32(layers[suit, snow, REAR] << area)
    left, right = np.int32(layers[suit, snow, LEFT] << area), np.int32(layers[suit, snow, RIGHT] << area)
    most, mask, flip = np.int32(bits), np.int32(size - 1), not mirrored[suit]
    per_step = np.float32(slope_step) * wear[k, PER_UP]
    for u in range(np.uint64(first), np.uint64(last)):
        away = max(_ZERO, min(_FAR, near[k, u]))
        dx = cosine * columns[0, u] + sine * columns[1, u]
        dy = cosine * columns[1, u] - sine * columns[0, u]
        step_x = cosine * steps[0, u] + sine * steps[1, u]
        step_y = cosine * steps[1, u] - sine * steps[0, u]
        x, y = eye_x + away * dx, eye_y + away * dy
        end = abs(x) - half_length > abs(y) - half_width
        across_end = half_width + y if x > 0 else half_width - y
        across_side = half_length - x if flip and y > 0 else half_length + x
        across = across_end if end else across_side
        side, per = half_width if end else half_length, per_width if end else per_length
        stride = step_y - dy * step_x / dx if end else step_x - dx * step_y / dy
        level = np.int32(level_of(abs(stride) * away * per, most) & _31)
        place = np.int32(np.int32(min(max(across, _ZERO), side * _INSIDE) * per) & mask)
        begin = np.int32(begins - np.int32(begins >> level))
        layer = (front if x > 0 else rear) if end else (left if y > 0 else right)
        face = (np.int32(FRONT) if x > 0 else np.int32(REAR)) if end else (np.int32(LEFT) if y > 0 else np.int32(RIGHT))
        tall_level = np.int32(level_of(away * per_step, most) & _31)
        rows_begin = np.int32(np.int32(begins - np.int32(begins >> tall_level)) << row_bits)
        walls[k, u] = np.int32(np.int32(np.int32(layer + begin) + rows_begin) + np.int32(place >> level))
        faces[k, u] = np.int32(face | np.int32(tall_level << _FACE_BITS))


@part
def on_wall(texel: Whole, wall: Whole, up: Real, rows: Whole, bits: Whole) -> Whole:
    """Index in the bank of a wall's texel at `up` texels above the box's underside."""
    row = rows - 1 - min(max(np.int32(up), 0), rows - 1)
    return texel + (((row & ((1 << bits) - 1)) >> (wall >> 3)) << (bits + 1))


@part
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


@part
def in_tiles(y: Whole, x: Whole, tiles: Whole) -> Whole:
    """Where square (y, x) of a tiled raster lies, of so many tiles side by side; in int32."""
    # Numba makes 64 bits of every sum: each is made 32 again, so that eight go through one instruction.
    # (y // 8) * 64 * tiles + y % 8 is (y // 8) * (64 * tiles - 8) + y.
    rows = np.int32(np.int32(np.int32(tiles << SQUARES) - EIGHT) * np.int32(y >> EIGHTH))
    return np.int32(np.int32(rows + y) + np.int32(x << EIGHTH))

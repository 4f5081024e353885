"""The ground that one row of a camera's pixels meets: its classes, its texels, the share of paint on it.

Along a row of pixels the places on the ground are evenly spaced on a line. Their coordinates are therefore fixed-point
numbers of 32 bits that grow by one sum a pixel, eight pixels at a time: on the raster with as many bits for a square as
its size leaves, on a texture with 2**32 to a repetition, so that it repeats by itself. An error of half a bit in the
step grows to less than a ten-thousandth of a square over a row of a hundred pixels.

Loops that only fetch are kept short and by themselves: many fetches are then under way at once.
"""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf, part
from stalwart.drive.pyramid import FULL

HERE, BELOW = 0, 1
"""Rows of `kinds`: the classes in the middle of a row's pixels and at their lower edge."""
MIDDLE, HALF = 0, 1
"""Rows of `paint`, as a pyramid has it: in the middle of the pixels, and at their upper and lower edge (by turns HALF
and HALF + 1)."""
SHARE, OVER = 0, 1
"""Rows of `seen`: the share of paint that is seen, of FULL, and its class less 8."""
ROAD, TERRAIN = 2, 1
FURTHEST_M = 1e6
"""Ground farther away is taken to be there: its coordinates must stay within 64 bits."""

_1, _3, _6, _8, _31 = (np.uint32(n) for n in (1, 3, 6, 8, 31))
_FULL, _ROUNDED = np.uint64(FULL), np.uint64((FULL // 2 + 1) * 0x0001000100010001)
_FIFTH, _EIGHTH, _SIXTEENTH, _WORD = (np.uint64(n) for n in (5, 8, 16, 0xFFFFFFFF))
_ELEVEN, _BYTES, _HALVES = (np.uint64(n) for n in (0x07FF07FF07FF07FF, 0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF))
_TWO, _THREE, _FIVES, _PAINT, _LOW = np.uint8(2), np.uint8(3), np.uint8(FULL << 3), np.uint8(7), np.uint8(7)


@part
def point(value: Real, bits: Whole) -> Whole:
    """A coordinate in fixed point, modulo 2**32."""
    return np.uint32(np.int64(np.floor(value * np.float64(np.int64(1) << bits))))


@part
def within(x: Real, step: Real, most: Real, first: Whole, last: Whole) -> tuple[Whole, Whole]:
    """The columns u from `first` to `last` at which x + step * u lies in [0, most)."""
    if abs(step) < 1e-12:
        return (first, last) if 0 <= x < most else (first, first)
    low, high = -x / step, (most - x) / step
    begin, end = (np.ceil(low), np.ceil(high)) if step > 0 else (np.floor(high) + 1.0, np.floor(low) + 1.0)
    a = np.int64(min(max(begin, np.float64(first)), np.float64(last)))
    b = np.int64(min(max(end, np.float64(a)), np.float64(last)))
    return a, b


@part
def tile_places(
    places: Array, x: Whole, y: Whole, step_x: Whole, step_y: Whole, bits: Whole, x_most: Whole, y_most: Whole, start:
    Whole, tiles: Whole,
) -> None:  # fmt: skip
    """Where in a `tiled` level that begins at `start` the squares of a row of pixels lie; all numbers are uint32.

    Args:
        places: (W,) uint32, written; what lies beyond the level comes to one of its outermost squares.
        x, y, step_x, step_y: fixed-point numbers of so many bits.
    """
    # Numba makes 64 bits of every sum: each is made 32 again, so that eight go through one instruction.
    down, stride = np.uint32(bits & _31), np.uint32(np.uint32(tiles << _6) - _8)
    for u in range(np.uint64(places.shape[0])):
        column, row = min(np.uint32(x >> down), x_most), min(np.uint32(y >> down), y_most)
        rows = np.uint32(np.uint32(np.uint32(row >> _3) * stride) + row)
        places[u] = np.uint32(np.uint32(start + rows) + np.uint32(column << _3))
        x, y = np.uint32(x + step_x), np.uint32(y + step_y)


@part
def texture_places(
    places: Array, x: Whole, y: Whole, step_x: Whole, step_y: Whole, bits: Whole, begin: Whole, row_bits: Whole
) -> None:
    """Where in a layer of the bank a row of pixels meets a texture whose side is 2**32; all numbers are uint32.

    Args:
        places: (W,) uint32, written.
        bits: the texture's level has 2**bits texels a side, and begins at row and column `begin`.
    """
    down, beside = np.uint32(np.uint32(_31 - bits) & _31), np.uint32(row_bits & _31)
    for u in range(np.uint64(places.shape[0])):
        row = np.uint32(np.uint32(begin + np.uint32(np.uint32(y >> down) >> _1)) << beside)
        places[u] = np.uint32(row + np.uint32(begin + np.uint32(np.uint32(x >> down) >> _1)))
        x, y = np.uint32(x + step_x), np.uint32(y + step_y)


@part
def touch(
    found: Array, to: Whole, places: Array, source: Array, map_: Whole, away: Real, aim: Array, bits: Whole, level:
    Whole, start: Whole, tiles: Whole, shape: Array, beyond: Whole,
) -> None:  # fmt: skip
    """What a map has where the rays of one row meet the ground.

    Args:
        found: (rows, W) uint8, row `to` written.
        source: (maps, N) uint8, tiled; its level lies at `start` with so many tiles side by side.
        away: depth of the row.
        aim: (6,) the eye in raster squares (x, y), what a metre of depth adds to it in column 0, and in each next one.
        beyond: what lies beyond the map's edge.
    """
    x, y = aim[0] + aim[2] * away, aim[1] + aim[3] * away
    step_x, step_y = aim[4] * away, aim[5] * away
    wide, tall = shape[1], shape[0]
    tile_places(
        places, point(x, bits), point(y, bits), point(step_x, bits), point(step_y, bits), np.uint32(bits + level),
        np.uint32((wide - 1) >> level), np.uint32((tall - 1) >> level), np.uint32(start), np.uint32(tiles),
    )  # fmt: skip
    count = np.int64(places.shape[0])
    end_x, end_y = x + step_x * (count - 1), y + step_y * (count - 1)
    first, last = np.int64(0), count
    if min(x, end_x) < 0 or max(x, end_x) >= wide or min(y, end_y) < 0 or max(y, end_y) >= tall:
        first, last = within(x, step_x, np.float64(wide), first, last)
        first, last = within(y, step_y, np.float64(tall), first, last)
    for u in range(np.uint64(first), np.uint64(last)):
        found[to, u] = source[map_, np.uint64(places[u])]
    for u in range(np.uint64(first)):
        found[to, u] = np.uint8(beyond)
    for u in range(np.uint64(last), np.uint64(count)):
        found[to, u] = np.uint8(beyond)


@part
def paint_of(paint: Array, to: Whole, kinds: Array, row: Whole) -> None:
    """Classes into paint as a pyramid has it: a square is painted all over or not at all."""
    for u in range(np.uint64(kinds.shape[1])):
        kind = kinds[row, u]
        paint[to, u] = np.uint8(kind | _FIVES) if kind > _PAINT else np.uint8(0)


@part
def share_paint(seen: Array, paint: Array, before: Whole, after: Whole) -> bool:
    """What is seen of paint: the middle counts half, the upper and lower edge a quarter each. Whether there is any."""
    some = np.uint32(0)
    for u in range(np.uint64(paint.shape[1])):
        middle, above, below = paint[MIDDLE, u], paint[before, u], paint[after, u]
        around = np.uint8(np.uint8(above >> _THREE) + np.uint8(below >> _THREE) + _TWO)
        total = np.uint8(np.uint8(middle >> _THREE) * _TWO + around)
        seen[SHARE, u] = np.uint8(total >> _TWO)
        most = middle if middle > above else above
        most = most if most > below else below
        seen[OVER, u] = np.uint8(most & _LOW)
    for u in range(np.uint64(paint.shape[1])):
        some = np.uint32(some | np.uint32(seen[SHARE, u]))
    return bool(some > 0)


@part
def mix(base: Whole, paint: Whole, share: Whole) -> Whole:
    """A texel of paint over a texel of ground, by a share of FULL."""
    # Four numbers of 16 bits go through each sum. With t = x + 1, x // 31 is (t + (t + t // 32) // 32) // 32 for all
    # x that occur.
    t = apart(base) * np.uint64(_FULL - share) + apart(paint) * np.uint64(share) + _ROUNDED
    t = t + (((t + ((t >> _FIFTH) & _ELEVEN)) >> _FIFTH) & _ELEVEN)
    t = (t >> _FIFTH) & _BYTES
    t = (t | (t >> _EIGHTH)) & _HALVES
    return np.uint32((t | (t >> _SIXTEENTH)) & _WORD)


@part
def apart(texel: Whole) -> Whole:
    """The four bytes of a texel, 16 bits apart."""
    wide = np.uint64(texel)
    wide = (wide | (wide << _SIXTEENTH)) & _HALVES
    return (wide | (wide << _EIGHTH)) & _BYTES


@part
def texels(
    texel: Array, kinds: Array, seen: Array, eights: Array, textures: Array, layers: Array, bank: Array, mixed: bool
) -> None:
    """The texels of a row, paint mixed in.

    Args:
        texel: (W,) uint32 RGBA, written.
        eights: `seen` by eights, (2, W / 8) uint64.
        textures: (W,) uint32, places in a layer of the bank.
        layers: (2, 16) uint32, where in the bank the layers of classes begin, and those of the ground under paint.
        mixed: whether there is any paint.
    """
    width = np.uint64(texel.shape[0])
    for u in range(width):
        texel[u] = bank[np.uint64(np.uint32(layers[1, kinds[HERE, u]] + textures[u]))]
    if mixed:
        for group in range(np.uint64(eights.shape[1])):
            if eights[SHARE, group] == 0:
                continue
            for u in range(np.uint64(8) * group, min(width, np.uint64(8) * group + np.uint64(8))):
                share = seen[SHARE, u]
                if share > 0:
                    over = bank[np.uint64(np.uint32(layers[0, np.uint8(8) | seen[OVER, u]] + textures[u]))]
                    texel[u] = mix(texel[u], over, np.uint64(share))


@leaf
def keep_texels(index: Array, view: Whole, v: Whole, kinds: Array, seen: Array, textures: Array, layers: Array) -> None:
    """Which texels a row's colours were made of, and the paint's share; index: (V, H, W, 3) int32."""
    for u in range(textures.shape[0]):
        index[view, v, u, 0] = layers[1, kinds[HERE, u]] + textures[u]
        index[view, v, u, 1] = layers[0, np.uint8(8) | seen[OVER, u]] + textures[u]
        index[view, v, u, 2] = seen[SHARE, u]

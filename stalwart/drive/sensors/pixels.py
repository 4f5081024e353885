"""What one row of a camera sees: for each pixel its texel, gain and bias, its class and its instance."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf
from stalwart.drive.pyramid import FULL
from stalwart.drive.sensors import shading, styles, surface
from stalwart.drive.sensors.cast import COSINE, SHADED, SINE, UNDER
from stalwart.drive.sensors.surface import CAP, INSTANCE, KIND, PER_UP, ROWS, SKYLIT, SUNLIT

PLAIN = np.uint64(0x4000400040004000)
"""A gain of 1 in all four channels."""


@leaf
def wear_slots(
    wear: Array, numbers: Array, tints: Array, slots: Array, owner: Array, begin: Whole, count: Whole, w: Whole, kind:
    Array, instance: Array, tint: Array, style: Array, sun_x: Real, sun_y: Real, eye_z: Real,
) -> None:  # fmt: skip
    """What each slot shows whatever its columns: class, instance, tint, and how much light its faces get.

    Args:
        sun_x, sun_y: forward and left of where the sun stands, of length 1.
    """
    high = style[styles.SINE]
    low = np.float32(math.sqrt(max(0.0, 1.0 - high * high)))
    for k in range(begin, count):
        b = owner[k]
        numbers[k, KIND], numbers[k, INSTANCE] = kind[w, b], instance[w, b]
        for channel in range(3):
            tints[k, channel] = np.float32(tint[w, b, channel]) * np.float32(1 / 255)
        c, s = slots[k, COSINE], slots[k, SINE]
        ahead, aside = np.float32(c * sun_x + s * sun_y) * low, np.float32(c * sun_y - s * sun_x) * low
        wear[k, SUNLIT], wear[k, SUNLIT + 1] = max(ahead, np.float32(0.0)), max(-ahead, np.float32(0.0))
        wear[k, SUNLIT + 2], wear[k, SUNLIT + 3] = max(aside, np.float32(0.0)), max(-aside, np.float32(0.0))
        wear[k, SKYLIT], wear[k, SKYLIT + 1], wear[k, SKYLIT + 2], wear[k, SKYLIT + 3] = 0.74, 0.74, 0.86, 0.86
        overhead = slots[k, UNDER] > eye_z
        wear[k, SUNLIT + CAP] = np.float32(0.0) if overhead else high
        wear[k, SKYLIT + CAP] = np.float32(0.5) if overhead else np.float32(1.0)


@leaf
def mix(base: Whole, paint: Whole, share: Whole) -> Whole:
    """A texel of paint over a texel of ground, by a share of FULL."""
    mixed = np.uint32(0)
    for shift in range(0, 32, 8):
        a, b = (base >> np.uint32(shift)) & np.uint32(255), (paint >> np.uint32(shift)) & np.uint32(255)
        value = (a * np.uint32(FULL - share) + b * np.uint32(share) + np.uint32(FULL // 2)) // np.uint32(FULL)
        mixed |= np.uint32(value) << np.uint32(shift)
    return np.uint32(mixed)


@leaf
def see_ground(
    texel: Array, gain: Array, bias: Array, first: Whole, rows: Whole, top: Whole, code: Array, kind: Array, instance:
    Array, index: Array, view: Whole, lit: Array, shaded: Array, step: Whole, haze: Array, values: Array, shares: Array,
    places: Array, taps: Array, textures: Array, raster: Array, paint: Array, map_: Whole, layers: Array, snow: Whole,
    bank: Array, bits: Whole,
) -> None:  # fmt: skip
    """The ground in the rows below the horizon, before the boxes, into the strip, from its row `first` on.

    Args:
        index: (V, H, W, 3) int32, written where it is not empty: two texels in the bank, and the paint's share.
        lit, shaded: (STRIP, W) uint64 gains of the ground; `step` is 0 where column 0 holds for all of a row.
        haze: (STRIP,) uint64 biases.
        places, taps, textures: (STRIP, W) int32, taps two of them; from `ground_row`.
    """
    wanted = index.shape[1] > 0
    layer_bits = 2 * bits + 2
    width = np.uint64(code.shape[1])
    # Short loops that do nothing but fetch: many fetches are then under way at once, and few are waited for.
    for r in range(np.uint64(first), np.uint64(rows)):
        v = np.uint64(top) + r
        for u in range(width):
            place = places[r, u]
            value = np.int32(raster[map_, np.uint64(max(place, 0))])
            values[u] = value if place >= 0 else np.int32(1)
        for u in range(width):
            tap_1, tap_2 = taps[0, r, u], taps[1, r, u]
            paint_1, paint_2 = paint[map_, np.uint64(max(tap_1, 0))], paint[map_, np.uint64(max(tap_2, 0))]
            paint_1, paint_2 = paint_1 if tap_1 >= 0 else np.uint8(0), paint_2 if tap_2 >= 0 else np.uint8(0)
            colour = np.int32(max(paint_1, paint_2)) & 7
            shares[u] = (((np.int32(paint_1) >> 3) + (np.int32(paint_2) >> 3) + 1) >> 1) << 3 | colour
        for u in range(width):
            base = values[u] if values[u] < 8 else np.int32(2)
            at = (np.int64(layers[snow, np.uint64(base)]) << layer_bits) + textures[r, u]
            texel[r, u] = bank[np.uint64(at)]
        for u in range(width):
            if shares[u] >> 3 > 0:
                at = (np.int64(layers[snow, np.uint64(8 + (shares[u] & 7))]) << layer_bits) + textures[r, u]
                texel[r, u] = mix(texel[r, u], bank[np.uint64(at)], shares[u] >> 3)
        mist = haze[r]
        for u in range(width):
            column = u * np.uint64(step)
            bright, dark = lit[r, column], shaded[r, column]
            gain[r, u] = dark if code[v, u] == SHADED else bright
        for u in range(width):
            bias[r, u] = mist
        for u in range(width):
            kind[view, v, u] = np.uint8(values[u])
            instance[view, v, u] = np.uint16(0)
        if wanted:
            for u in range(width):
                base = values[u] if values[u] < 8 else np.int32(2)
                index[view, v, u, 0] = (layers[snow, np.uint64(base)] << layer_bits) + textures[r, u]
                over = layers[snow, np.uint64(8 + (shares[u] & 7))]
                index[view, v, u, 1], index[view, v, u, 2] = (over << layer_bits) + textures[r, u], shares[u] >> 3


@leaf
def see_sky(
    texel: Array, gain: Array, bias: Array, r: Whole, kind: Array, instance: Array, index: Array, view: Whole,
    v: Whole, columns: Array, row: Whole, bank: Array,
) -> None:  # fmt: skip
    """Row v above the horizon, before the boxes; the sky's texture holds its final colours."""
    for u in range(np.uint64(columns.shape[0])):
        gain[r, u], bias[r, u] = PLAIN, np.uint64(0)
    for u in range(np.uint64(columns.shape[0])):
        kind[view, v, u], instance[view, v, u] = np.uint8(0), np.uint16(0)
    for u in range(np.uint64(columns.shape[0])):
        texel[r, u] = bank[np.uint64(columns[u] + row)]
    if index.shape[1] > 0:
        for u in range(columns.shape[0]):
            at = columns[u] + row
            index[view, v, u, 0], index[view, v, u, 1], index[view, v, u, 2] = at, at, 0


@leaf
def see_boxes(
    texel: Array, gain: Array, bias: Array, gain_16: Array, bias_16: Array, top: Whole, rows: Whole, code: Array,
    kind: Array, instance: Array, index: Array, depth: Array, view: Whole, walls: Array, faces: Array, gains: Array,
    biases: Array, slots: Array, wear: Array, numbers: Array, tints: Array, columns: Array, style: Array, beams: Array,
    camera: Whole, slopes: Array, eye_z: Real, slope_step: Real, column_step: Real, bank: Array, bits: Whole,
) -> None:  # fmt: skip
    """The pixels that boxes cover in the rows from `top` on, into the strip."""
    wanted = index.shape[1] > 0
    emission = style[styles.EMISSION]
    for r in range(np.uint64(rows)):
        v = np.uint64(top) + r
        slope = slopes[v]
        for u in range(np.uint64(code.shape[1])):
            what = code[v, u]
            if what < 0:
                continue
            k = np.uint64(what >> 1)
            away, four = depth[view, v, u], np.uint64(4) * u
            if what & 1 == 0:
                up = (eye_z + away * slope - slots[k, UNDER]) * wear[k, PER_UP]
                at = np.int64(surface.on_wall(walls[k, u], faces[k, u], up, numbers[k, ROWS], bits))
                gain[r, u], bias[r, u] = gains[k, u], biases[k, u]
            else:
                across, along = away * column_step, away * slope_step / max(abs(slope), 1e-6)
                ahead, aside = columns[0, u], columns[1, u]
                at = np.int64(surface.on_cap(wear, numbers, slots, k, away, ahead, aside, across, along, bits))
                lamps = shading.head_lamps(style, away, beams[camera, u], slope)
                sunlit, skylit = wear[k, SUNLIT + CAP], wear[k, SKYLIT + CAP]
                shading.light_face(gain_16, bias_16, r, four, tints, k, style, away, sunlit, skylit, lamps)
            pixel = bank[np.uint64(at)]
            own = pixel >> np.uint32(24)
            if own > 0:
                shading.shine(gain_16, r, four, own, emission)
            texel[r, u] = pixel
            kind[view, v, u], instance[view, v, u] = numbers[k, KIND], numbers[k, INSTANCE]
            if wanted:
                index[view, v, u, 0], index[view, v, u, 1], index[view, v, u, 2] = at, at, 0

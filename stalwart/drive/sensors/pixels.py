"""What boxes show to a camera whatever the row, and the pixels that they cover."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf, part
from stalwart.drive.sensors import shading, styles, surface
from stalwart.drive.sensors.cast import COSINE, SINE, UNDER
from stalwart.drive.sensors.surface import CAP, INSTANCE, KIND, LIFT, PER_UP, ROWS, SKYLIT, SUNLIT

_24, _1 = np.uint32(24), np.int32(1)


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


@part
def see_boxes(
    texel: Array, gain: Array, bias: Array, kind: Array, instance: Array, index: Array, depth: Array, view: Whole, v:
    Whole, first: Whole, last: Whole, code: Array, walls: Array, faces: Array, gains: Array, biases: Array, slots:
    Array, wear: Array, numbers: Array, tints: Array, columns: Array, style: Array, beams: Array, camera: Whole, slope:
    Real, slope_step: Real, column_step: Real, bank: Array, bits: Whole, spots: Array, marks:
    Array, behind: Real,
) -> None:  # fmt: skip
    """The pixels that boxes cover in row v between two columns, into the row's texels, gains and biases.

    Args:
        index: (V, H, W, 3) int32, written where it is not empty: two texels in the bank, and the share of the second.
        gains, biases: (boxes, 4 W) uint16, of walls.
        spots, marks: (W,) int32, scratch: texels, and codes or -1 where no box is.
        behind: depth of what is behind the boxes.
    """
    width, emission = np.uint64(texel.shape[0]), style[styles.EMISSION]
    across_step, along_step = np.float32(column_step), np.float32(slope_step / max(abs(np.float64(slope)), 1e-6))
    for u in range(np.uint64(first), np.uint64(last)):
        # A choice of what is stored: of a load by choice the compiler makes a masked one.
        what = code[v, u]
        marks[u] = np.int32(what | (np.int32(depth[view, v, u] < behind) - _1))
    begin = np.int64(first)
    while begin < last:  # runs of pixels of one face
        what, end = marks[begin], begin + 1
        while end < last and marks[end] == what:
            end += 1
        if what >= 0:
            k = np.uint64(what >> 1)
            worn, number = np.uint8(numbers[k, KIND]), np.uint16(numbers[k, INSTANCE])
            if what & 1 == 0:
                lift, rise, rows = wear[k, LIFT], slope * wear[k, PER_UP], numbers[k, ROWS]
                for u in range(np.uint64(begin), np.uint64(end)):
                    up = lift + depth[view, v, u] * rise
                    spot = np.uint64(surface.on_wall(walls[k, u], faces[k, u], up, rows, bits))
                    for c in range(np.uint64(4)):
                        gain[0, c * width + u] = gains[k, c * width + u]
                    for c in range(np.uint64(3)):
                        bias[0, c * width + u] = biases[k, c * width + u]
                    spots[u] = np.int32(spot)
                    texel[u] = bank[spot]
                    kind[view, v, u], instance[view, v, u] = worn, number
            else:
                sunlit, skylit = wear[k, SUNLIT + CAP], wear[k, SKYLIT + CAP]
                for u in range(np.uint64(begin), np.uint64(end)):
                    away = depth[view, v, u]
                    across, along = away * across_step, away * along_step
                    ahead, aside = columns[0, u], columns[1, u]
                    spot = np.uint64(surface.on_cap(wear, numbers, slots, k, away, ahead, aside, across, along, bits))
                    lamps = shading.head_lamps(style, away, beams[camera, u], slope)
                    shading.light_cap(gain, bias, u, width, tints, k, style, away, sunlit, skylit, lamps)
                    spots[u] = np.int32(spot)
                    texel[u] = bank[spot]
                    kind[view, v, u], instance[view, v, u] = worn, number
            for u in range(np.uint64(begin), np.uint64(end)):
                own = texel[u] >> _24
                if own > 0:
                    shading.shine(gain, u, width, own, emission)
            if index.shape[1] > 0:
                for u in range(np.uint64(begin), np.uint64(end)):
                    index[view, v, u, 0], index[view, v, u, 1], index[view, v, u, 2] = spots[u], spots[u], 0
        begin = end

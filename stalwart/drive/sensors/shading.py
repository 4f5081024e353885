"""From texels to colours. In each channel a colour is gain * texel + bias, whatever the light, the haze and the rain.

Gains and biases are fixed-point numbers of 16 bits, four to a pixel, so that sixteen of them go through one AVX2
instruction; the fourth channel holds what a lamp keeps of its light on the way. One level of 255 is `LEVEL` of a bias,
and 1 is `UNIT` of a gain.
"""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf
from stalwart.drive.sensors.styles import EXTINCTION, GLOSS, HORIZON, LAMPS, SINE, SKY, SUN, ZENITH
from stalwart.drive.sensors.surface import SKYLIT, SUNLIT

UNIT = 1 << 14
LEVEL = 16
ONE = np.float32(1.0)
MOST = np.float32(65535.0)
BIAS = np.float32(255.0 * LEVEL)
REACH_M = 22.0
"""Where head lamps have halved."""


@leaf
def clear(distance: Real, extinction: Real) -> Real:
    """exp(-extinction * distance) to 1e-4, out of what runs eight numbers at a time."""
    y = distance * extinction * np.float32(1 / 16)
    grown = ONE + y * (ONE + y * (np.float32(0.5) + y * (np.float32(1 / 6) + y * np.float32(1 / 24))))
    kept = ONE / grown
    kept *= kept
    kept *= kept
    kept *= kept
    return kept * kept


@leaf
def fixed(gain: Real) -> Whole:
    """A gain in fixed point; what is brighter than four times white stays there."""
    return np.uint16(min(gain * np.float32(UNIT), MOST))


@leaf
def head_lamps(style: Array, away: Real, beam: Real, slope: Real) -> Real:
    """Light of the own head lamps on what stands `away`; they shine little above the horizon."""
    near = away * np.float32(1 / REACH_M)
    return style[LAMPS] * beam / ((ONE + near * near) * (ONE + np.float32(12.0) * max(np.float32(0.0), slope)))


@leaf
def light_face(
    gain: Array, bias: Array, row: Whole, at: Whole, tints: Array, k: Whole, style: Array, away: Real, sunlit: Real,
    skylit: Real, lamps: Real,
) -> None:  # fmt: skip
    """Gain and bias of one point of slot k, into four places of a row from `at` on."""
    kept = clear(away, style[EXTINCTION])
    lost = ONE - kept
    for c in range(3):
        light = style[SUN + c] * sunlit + style[SKY + c] * skylit + lamps
        gain[row, at + c] = fixed(tints[k, c] * light * kept)
        bias[row, at + c] = np.uint16(style[HORIZON + c] * lost * BIAS)
    gain[row, at + 3] = fixed(kept)
    bias[row, at + 3] = np.uint16(0)


@leaf
def light_walls(
    gains: Array, biases: Array, tints: Array, k: Whole, style: Array, near: Array, faces: Array, wear: Array,
    beams: Array, camera: Whole, first: Whole, last: Whole,
) -> None:  # fmt: skip
    """Gain and bias (boxes, 4 W) of slot k's wall, column by column."""
    lit = style[LAMPS] > 0
    for u in range(np.uint64(first), np.uint64(last)):
        away, face = near[k, u], faces[k, u] & 7
        lamps = head_lamps(style, away, beams[camera, u], np.float32(0.0)) if lit else np.float32(0.0)
        sunlit, skylit = wear[k, SUNLIT + face], wear[k, SKYLIT + face]
        light_face(gains, biases, k, np.uint64(4) * u, tints, k, style, away, sunlit, skylit, lamps)


@leaf
def light_ground(
    lit: Array, shaded: Array, bias: Array, r: Whole, style: Array, away: Real, slope: Real, mirrored: Array
) -> Real:
    """First gain (STRIP, 4 W) of lit and of shaded ground in row r, and its bias (4 STRIP,), without head lamps.

    Args:
        mirrored: (3,) the sky's colour that wet ground reflects in this row.

    Returns:
        What share of the light reaches the eye.
    """
    kept = clear(away, style[EXTINCTION])
    lost = ONE - kept
    flat = ONE + slope / np.float32(np.sqrt(ONE + slope * slope))
    shine = style[GLOSS] * flat * flat * flat * kept
    keep = kept * (ONE - np.float32(0.55) * style[GLOSS])
    open_sky = np.float32(0.78) if style[SUN] > 0 else np.float32(0.55)
    for c in range(3):
        lit[r, c] = fixed((style[SKY + c] + style[SUN + c] * style[SINE]) * keep)
        shaded[r, c] = fixed(style[SKY + c] * open_sky * keep)
        bias[4 * r + c] = np.uint16((style[HORIZON + c] * lost + shine * mirrored[c]) * BIAS)
    lit[r, 3] = shaded[r, 3] = fixed(keep)
    bias[4 * r + 3] = np.uint16(0)
    return keep


@leaf
def lamps_on_ground(
    lit: Array, shaded: Array, r: Whole, style: Array, away: Real, keep: Real, beams: Array, camera: Whole
) -> None:
    """Gains (STRIP, 4 W) of all columns of row r, from the first one and what the own head lamps add."""
    lamp = head_lamps(style, away, ONE, np.float32(0.0)) * keep
    for u in range(beams.shape[1] - 1, -1, -1):
        more = np.uint32(lamp * beams[camera, u] * np.float32(UNIT))
        for c in range(4):
            lit[r, 4 * u + c] = np.uint16(min(np.uint32(lit[r, c]) + more, np.uint32(65535)))
            shaded[r, 4 * u + c] = np.uint16(min(np.uint32(shaded[r, c]) + more, np.uint32(65535)))


@leaf
def mirrored_sky(colour: Array, style: Array, slope: Real) -> None:
    """Colour (3,) of the sky as far above the horizon as a slope lies below it."""
    up = -slope / (np.float32(0.3) - slope)
    for c in range(3):
        colour[c] = style[HORIZON + c] + (style[ZENITH + c] - style[HORIZON + c]) * up


@leaf
def shine(gain: Array, row: Whole, at: Whole, own: Whole, emission: Real) -> None:
    """Turns the gain of one pixel towards that of light which comes from the texel itself.

    Args:
        own: how much the texel shines, of 255.
    """
    share = np.float32(own) * np.float32(1 / 255) * emission
    kept = np.float32(gain[row, at + 3])
    for c in range(3):
        before = np.float32(gain[row, at + c])
        gain[row, at + c] = np.uint16(before + (kept - before) * share)


@leaf
def blend(out: Array, texel: Array, gain: Array, bias: Array, count: Whole) -> None:
    """gain * texel + bias, rounded to the nearest level, of the first `count` bytes."""
    for i in range(np.uint64(count)):
        product = np.uint16((np.uint32(np.uint16(texel[i]) << np.uint16(6)) * np.uint32(gain[i])) >> np.uint32(16))
        level = np.uint16(product + bias[i] + np.uint16(LEVEL // 2)) >> np.uint16(4)
        out[i] = np.uint8(min(level, np.uint16(255)))


@leaf
def part_channels(rgb: Array, view: Whole, top: Whole, packed: Array, rows: Whole) -> None:
    """Packed pixels of four bytes into a plane (views, 3, H, W) for each colour, from row `top` on."""
    width = np.uint64(rgb.shape[3])
    for r in range(np.uint64(rows)):
        v, at = np.uint64(top) + r, r * width
        for u in range(width):
            rgb[view, 0, v, u] = np.uint8(packed[at + u] & np.uint32(255))
        for u in range(width):
            rgb[view, 1, v, u] = np.uint8((packed[at + u] >> np.uint32(8)) & np.uint32(255))
        for u in range(width):
            rgb[view, 2, v, u] = np.uint8((packed[at + u] >> np.uint32(16)) & np.uint32(255))

"""From texels to colours. In each channel a colour is gain * texel + bias, whatever the light, the haze and the rain.

Gains and biases are fixed-point numbers of 16 bits, channel by channel, so that many of them go through one
instruction; the fourth channel holds what a lamp keeps of its light on the way. One level of 255 is `LEVEL` of a bias,
and 1 is `UNIT` of a gain.
"""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf, part
from stalwart.drive.sensors.styles import EXTINCTION, GLOSS, HORIZON, LAMPS, SINE, SKY, SUN, ZENITH
from stalwart.drive.sensors.surface import SKYLIT, SUNLIT

UNIT = 1 << 14
LEVEL = 16
ONE = np.float32(1.0)
MOST = np.float32(65535.0)
_MOST = np.uint32(65535)
BIAS = np.float32(255.0 * LEVEL)
REACH_M = 22.0
"""Where head lamps have halved."""


@part
def clear(distance: Real, extinction: Real) -> Real:
    """exp(-extinction * distance) to 1e-4, out of what runs eight numbers at a time."""
    y = distance * extinction * np.float32(1 / 16)
    grown = ONE + y * (ONE + y * (np.float32(0.5) + y * (np.float32(1 / 6) + y * np.float32(1 / 24))))
    kept = ONE / grown
    kept *= kept
    kept *= kept
    kept *= kept
    return kept * kept


@part
def fixed(gain: Real) -> Whole:
    """A gain in fixed point; what is brighter than four times white stays there."""
    return np.uint16(min(gain * np.float32(UNIT), MOST))


@part
def head_lamps(style: Array, away: Real, beam: Real, slope: Real) -> Real:
    """Light of the own head lamps on what stands `away`; they shine little above the horizon."""
    near = away * np.float32(1 / REACH_M)
    return style[LAMPS] * beam / ((ONE + near * near) * (ONE + np.float32(12.0) * max(np.float32(0.0), slope)))


@part
def light_cap(
    gain: Array, bias: Array, u: Whole, width: Whole, tints: Array, k: Whole, style: Array, away: Real, sunlit: Real,
    skylit: Real, lamps: Real,
) -> None:  # fmt: skip
    """Gain and bias of slot k's roof or underside in one pixel of a row, (1, 4 W) each."""
    kept = clear(away, style[EXTINCTION])
    lost = ONE - kept
    for c in range(np.uint64(3)):
        light = style[SUN + c] * sunlit + style[SKY + c] * skylit + lamps
        gain[0, c * width + u] = fixed(tints[k, c] * light * kept)
        bias[0, c * width + u] = np.uint16(style[HORIZON + c] * lost * BIAS)
    gain[0, np.uint64(3) * width + u] = fixed(kept)


@leaf
def light_walls(
    gains: Array, biases: Array, lights: Array, tints: Array, k: Whole, style: Array, near: Array, faces: Array, wear:
    Array, beams: Array, camera: Whole, first: Whole, last: Whole,
) -> None:  # fmt: skip
    """Gain and bias (boxes, 4 W) of slot k's wall, column by column.

    Args:
        lights: (4, W) float32, scratch: light that is kept on its way, the sun's, the sky's and the lamps'.
    """
    lit, extinction, width = style[LAMPS] > 0, style[EXTINCTION], np.uint64(near.shape[1])
    for u in range(np.uint64(first), np.uint64(last)):
        lights[0, u] = clear(near[k, u], extinction)
        lights[3, u] = np.float32(0.0)
    for u in range(np.uint64(first), np.uint64(last)):
        face = np.uint64(faces[k, u] & 7)
        lights[1, u], lights[2, u] = wear[k, np.uint64(SUNLIT) + face], wear[k, np.uint64(SKYLIT) + face]
    if lit:
        for u in range(np.uint64(first), np.uint64(last)):
            lights[3, u] = head_lamps(style, near[k, u], beams[camera, u], np.float32(0.0))
    for c in range(np.uint64(3)):
        tint, sun, sky, mist = tints[k, c], style[SUN + c], style[SKY + c], style[HORIZON + c] * BIAS
        for u in range(np.uint64(first), np.uint64(last)):
            light = sun * lights[1, u] + sky * lights[2, u] + lights[3, u]
            gains[k, c * width + u] = np.uint16(np.int32(min(tint * light * lights[0, u] * np.float32(UNIT), MOST)))
        for u in range(np.uint64(first), np.uint64(last)):
            biases[k, c * width + u] = np.uint16(np.int32(mist * (ONE - lights[0, u])))
    for u in range(np.uint64(first), np.uint64(last)):
        gains[k, np.uint64(3) * width + u] = np.uint16(np.int32(lights[0, u] * np.float32(UNIT)))


@leaf
def mirrored_sky(colour: Array, style: Array, slope: Real) -> None:
    """Colour (3,) of the sky as far above the horizon as a slope lies below it."""
    up = -slope / (np.float32(0.3) - slope)
    for c in range(3):
        colour[c] = style[HORIZON + c] + (style[ZENITH + c] - style[HORIZON + c]) * up


@part
def shine(gain: Array, u: Whole, width: Whole, own: Whole, emission: Real) -> None:
    """Turns the gain of one pixel of a row (1, 4 W) towards that of light which comes from the texel itself.

    Args:
        own: how much the texel shines, of 255.
    """
    share = np.float32(own) * np.float32(1 / 255) * emission
    kept = np.float32(gain[0, np.uint64(3) * width + u])
    for c in range(np.uint64(3)):
        before = np.float32(gain[0, c * width + u])
        gain[0, c * width + u] = np.uint16(before + (kept - before) * share)


@leaf
def light_ground(light: Array, v: Whole, style: Array, away: Real, slope: Real, mirrored: Array) -> Real:
    """Gain of lit and of shaded ground and its bias in row v, without head lamps.

    Args:
        light: (H, 3, 4) uint16, written: the two gains and the bias.
        mirrored: (3,) the sky's colour that wet ground reflects in this row.

    Returns:
        What share of the light reaches the eye.
    """
    kept = clear(away, style[EXTINCTION])
    lost = ONE - kept
    flat = ONE + slope / np.float32(np.sqrt(ONE + slope * slope))
    shine = style[GLOSS] * flat * flat * flat * kept
    keep = kept * (ONE - np.float32(0.55) * style[GLOSS])
    open_sky = np.float32(0.78) if style[SUN] > 0 else np.float32(0.45)
    for c in range(3):
        light[v, 0, c] = fixed((style[SKY + c] + style[SUN + c] * style[SINE]) * keep)
        light[v, 1, c] = fixed(style[SKY + c] * open_sky * keep)
        light[v, 2, c] = np.uint16((style[HORIZON + c] * lost + shine * mirrored[c]) * BIAS)
    light[v, 0, 3] = light[v, 1, 3] = fixed(keep)
    light[v, 2, 3] = np.uint16(0)
    return keep


@part
def shaded(bright: Whole, lost: Whole, dark: Whole) -> Whole:
    """A gain in a shadow so dark, of 255, in which it loses `lost` where it is darkest."""
    deep = np.uint16(np.uint16(dark) << np.uint16(8))
    return np.uint16(bright - np.uint16(np.uint32(lost * np.uint32(deep)) >> np.uint32(16)))


@part
def spread(gain: Array, bias: Array, light: Array, v: Whole, dark: Array, first: Whole, last: Whole) -> None:
    """A row's light into each of its pixels, (1, 4 W) each; some between two columns lie in the shadow that `dark`
    says."""
    width = np.uint64(dark.shape[0])
    for c in range(np.uint64(4)):
        bright, mist, at = light[v, 0, c], light[v, 2, c], c * width
        lost = np.uint32(bright - light[v, 1, c])
        for u in range(width):
            bias[0, at + u] = mist
        for u in range(width):
            gain[0, at + u] = bright
        if first < last:
            for u in range(np.uint64(first), np.uint64(last)):
                gain[0, at + u] = shaded(bright, lost, dark[u])


@leaf
def lamps_on_ground(gain: Array, style: Array, away: Real, keep: Real, beams: Array, camera: Whole) -> None:
    """Adds what the own head lamps shine on a row of ground to its gains (1, 4 W)."""
    lamp, width = head_lamps(style, away, ONE, np.float32(0.0)) * keep * np.float32(UNIT), np.uint64(beams.shape[1])
    for c in range(np.uint64(4)):
        for u in range(width):
            more = np.uint32(np.int32(lamp * beams[camera, u]))
            gain[0, c * width + u] = np.uint16(min(np.uint32(np.uint32(gain[0, c * width + u]) + more), _MOST))


@part
def lit(texel: Whole, down: Whole, gain: Whole, bias: Whole) -> Whole:
    """gain * texel + bias of the colour that lies `down` bits up in a texel; `bias` with half a level, to round."""
    value = np.uint16(np.uint16(np.uint32(texel >> down) & np.uint32(255)) << np.uint16(6))
    product = np.uint16((np.uint32(value) * np.uint32(gain)) >> np.uint32(16))
    return np.uint8(min(np.uint16(product + bias) >> np.uint16(4), np.uint16(255)))


@part
def blend(rgb: Array, view: Whole, v: Whole, texel: Array, gain: Array, bias: Array) -> None:
    """gain * texel + bias, rounded to the nearest level, into row v of each colour's plane (views, 3, H, W)."""
    width = np.uint64(texel.shape[0])
    for c in range(np.uint64(3)):
        down, at = np.uint32(np.uint32(c << np.uint64(3)) & np.uint32(31)), c * width
        for u in range(width):
            more = np.uint16(bias[0, at + u] + np.uint16(LEVEL // 2))
            rgb[view, c, v, u] = lit(texel[u], down, gain[0, at + u], more)


@part
def blend_evenly(rgb: Array, view: Whole, v: Whole, texel: Array, light: Array) -> None:
    """`blend` where all pixels of a row have the light of open ground."""
    for c in range(np.uint64(3)):
        down = np.uint32(np.uint32(c << np.uint64(3)) & np.uint32(31))
        gain, bias = light[v, 0, c], np.uint16(light[v, 2, c] + np.uint16(LEVEL // 2))
        for u in range(np.uint64(texel.shape[0])):
            rgb[view, c, v, u] = lit(texel[u], down, gain, bias)


@part
def blend_shaded(
    rgb: Array, view: Whole, v: Whole, texel: Array, light: Array, dark: Array, first: Whole, last: Whole
) -> None:
    """`blend_evenly` between two columns, some of which lie in the shadow that `dark` says."""
    for c in range(np.uint64(3)):
        down = np.uint32(np.uint32(c << np.uint64(3)) & np.uint32(31))
        bright, bias = light[v, 0, c], np.uint16(light[v, 2, c] + np.uint16(LEVEL // 2))
        lost = np.uint32(bright - light[v, 1, c])
        for u in range(np.uint64(first), np.uint64(last)):
            rgb[view, c, v, u] = lit(texel[u], down, shaded(bright, lost, dark[u]), bias)


@part
def part_channels(rgb: Array, view: Whole, v: Whole, texel: Array) -> None:
    """Texels as they are into row v of each colour's plane."""
    for c in range(np.uint64(3)):
        down = np.uint32(np.uint32(c << np.uint64(3)) & np.uint32(31))
        for u in range(np.uint64(texel.shape[0])):
            rgb[view, c, v, u] = np.uint8(np.uint32(texel[u] >> down) & np.uint32(255))


@leaf
def keep_light(gain_out: Array, bias_out: Array, view: Whole, v: Whole, gain: Array, bias: Array) -> None:
    """A row's gains and biases (1, 4 W) as they are handed out, (V, H, 4 W), a pixel's four side by side."""
    width = gain.shape[1] // 4
    for u in range(width):
        for c in range(4):
            gain_out[view, v, 4 * u + c], bias_out[view, v, 4 * u + c] = gain[0, c * width + u], bias[0, c * width + u]


@leaf
def gain_through(gain: Whole, cover: Whole) -> Whole:
    """A gain seen through drops or flakes that cover so much of the pixel, of 255."""
    return np.uint32(np.uint32(gain * np.uint32(np.uint32(255) - cover)) // np.uint32(255))


@leaf
def bias_through(bias: Whole, cover: Whole, light: Real) -> Whole:
    """A bias likewise, with the light that the drops add."""
    added = np.uint32(np.uint32(light * BIAS) * cover)
    return np.uint32(np.uint32(np.uint32(bias * np.uint32(np.uint32(255) - cover)) + added) // np.uint32(255))

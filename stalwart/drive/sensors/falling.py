"""Rain and snow between the lens and the world: streaks and flakes, drawn anew at every tick."""

from __future__ import annotations

import numpy as np

from stalwart.drive.chance import GOLDEN, mixed
from stalwart.drive.compiled import Array, Whole, leaf
from stalwart.drive.sensors.shading import bias_through, gain_through
from stalwart.drive.sensors.styles import CLOUD, DROP_LENGTH, DROPS

_16, _32, _48 = (np.uint64(n) for n in (16, 32, 48))
_LOW = np.uint64(0xFFFF)
_UNIT = np.float32(2.0**-16)


@leaf
def fall(veil: Array, style: Array, key: Whole) -> None:
    """How much of each pixel drops or flakes cover, (H, W) uint8 of 255, written."""
    height, width = veil.shape
    for v in range(height):
        for u in range(width):
            veil[v, u] = 0
    count = int(style[DROPS] * height * width * 1e-6)
    longest = style[DROP_LENGTH] * height
    for n in range(count):
        dice = mixed(key + np.uint64(n) * GOLDEN)
        u, v = int((dice & _LOW) * width >> _16), int(((dice >> _16) & _LOW) * height >> _16)
        size = np.float32((dice >> _32) & _LOW) * _UNIT
        thick = np.float32(dice >> _48) * _UNIT
        if longest > 0:
            cover, tall, wide = (
                np.uint8(30 + 50 * thick),
                int(1 + longest * (np.float32(0.3) + np.float32(0.7) * size)),
                1,
            )
        else:
            span = 1 + int(size * size * np.float32(2.4) * height / 96)
            # What is larger is nearer, and less sharp.
            sharp = max(np.float32(1), np.float32(0.7) + np.float32(0.15) * np.float32(span))
            cover, tall, wide = np.uint8((np.float32(110) + np.float32(120) * thick) / sharp), span, span
        for row in range(v, min(height, v + tall)):
            for column in range(u, min(width, u + wide)):
                here = cover
                if wide > 2:  # a disc with a soft edge
                    x, y = 2 * (column - u) - wide + 1, 2 * (row - v) - wide + 1
                    inside = np.float32(2.2) * (np.float32(1) - np.float32(x * x + y * y) / np.float32(wide * wide))
                    here = np.uint8(np.float32(cover) * min(max(inside, np.float32(0)), np.float32(1)))
                veil[row, column] = max(veil[row, column], here)


@leaf
def through(gain: Array, bias: Array, veil: Array, style: Array, v: Whole) -> None:
    """Gains and biases (1, 4 W) of row v as they are seen through the veil."""
    width = veil.shape[1]
    for u in range(width):
        cover = np.uint32(veil[v, u])
        if cover > 0:
            for c in range(4):
                gain[0, c * width + u] = np.uint16(gain_through(np.uint32(gain[0, c * width + u]), cover))
            for c in range(3):
                bias[0, c * width + u] = np.uint16(
                    bias_through(np.uint32(bias[0, c * width + u]), cover, style[CLOUD + c])
                )

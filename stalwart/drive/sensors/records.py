"""The arrays that go through the camera's kernels, bundled by where they come from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stalwart.drive.compiled import Array, Whole, kernel
from stalwart.drive.sensors.cast import SLOT_FIELDS
from stalwart.drive.sensors.surface import WEAR_FIELDS, WEAR_NUMBERS

STRIP = 8
"""Rows that are coloured together: few enough to stay in the nearest cache."""


class Boxes(NamedTuple):
    """All worlds' boxes, (worlds, boxes) each; see `Scene`."""

    x: Array
    y: Array
    z0: Array
    yaw: Array
    length: Array
    width: Array
    height: Array
    kind: Array
    instance: Array
    skin: Array
    tint: Array
    alive: Array


class Land(NamedTuple):
    """All worlds' ground and light."""

    raster: Array
    """(maps, N) uint8, tiled."""
    shape: Array
    """(2,) int64, H and W."""
    origin: Array
    paint: Array
    paint_table: Array
    map_of_world: Array
    style: Array
    sun_azimuth: Array
    styles: Array
    """(styles, fields) float32."""


class Rays(NamedTuple):
    """The fan, and where its copies stand."""

    columns: Array
    steps: Array
    azimuths: Array
    slopes: Array
    lens: Array
    beams: Array
    """(cameras, W) float32, how much of the own head lamps shines along each column."""
    eyes: Array
    """(V, 4) float64, x, y, z in m and yaw in rad; view c * worlds + w is camera c of world w."""
    ego: Array
    """(worlds,) int32, the box that carries the cameras, or -1."""
    keys: Array
    """(V,) uint64, of this moment and sensor."""


class Dress(NamedTuple):
    """Skins and textures."""

    layers: Array
    """(skins, 2, 5) int32, by face, without and with snow."""
    tiles: Array
    mirrored: Array
    ground: Array
    """(2, 16) int32, by class, without and with snow."""
    skies: Array
    """(styles,) int32, the first of a style's layers."""
    bank: Array
    """Flat uint32 of rip-maps, RGBA."""


class Out(NamedTuple):
    """What is written, by view. The last three are empty where they are not wanted."""

    rgb: Array
    depth: Array
    kind: Array
    instance: Array
    texels: Array
    gain: Array
    bias: Array


class Slots(NamedTuple):
    """Scratch: the boxes that one view sees."""

    slots: Array
    owner: Array
    near: Array
    walls: Array
    faces: Array
    gains: Array
    biases: Array
    gains_16: Array
    biases_16: Array
    wear: Array
    numbers: Array
    tints: Array
    spans: Array
    low: Array
    high: Array
    forward: Array
    left: Array
    code: Array
    veil: Array


class Strip(NamedTuple):
    """Scratch: the rows that are coloured together, once as pixels and once as their parts."""

    texel: Array
    gain: Array
    bias: Array
    gain_16: Array
    bias_16: Array
    texel_bytes: Array
    gain_parts: Array
    bias_parts: Array
    packed: Array
    packed_bytes: Array
    lit: Array
    lit_16: Array
    shaded: Array
    shaded_16: Array
    haze: Array
    haze_16: Array
    reflected: Array
    sky: Array
    rate: Array
    base: Array
    values: Array
    shares: Array
    places: Array
    taps: Array
    textures: Array


@kernel
def new_slots(boxes: Whole, height: Whole, width: Whole) -> Slots:
    gains, biases = np.empty((boxes, width), np.uint64), np.empty((boxes, width), np.uint64)
    return Slots(
        np.empty((boxes, SLOT_FIELDS)), np.empty(boxes, np.int32), np.empty((boxes, width), np.float32),
        np.empty((boxes, width), np.int32), np.empty((boxes, width), np.int32), gains, biases, gains.view(np.uint16),
        biases.view(np.uint16), np.empty((boxes, WEAR_FIELDS), np.float32), np.empty((boxes, WEAR_NUMBERS), np.int32),
        np.empty((boxes, 3), np.float32), np.empty((boxes, 2), np.int32), np.empty(width, np.float32),
        np.empty(width, np.float32), np.empty(8), np.empty(8), np.empty((height, width), np.int32),
        np.empty((height, width), np.uint8),
    )  # fmt: skip


@kernel
def new_strip(width: Whole) -> Strip:
    texel, packed = np.empty((STRIP, width), np.uint32), np.empty(STRIP * width, np.uint32)
    gain, bias = np.empty((STRIP, width), np.uint64), np.empty((STRIP, width), np.uint64)
    lit, shaded = np.empty((STRIP, width), np.uint64), np.empty((STRIP, width), np.uint64)
    haze = np.empty(STRIP, np.uint64)
    return Strip(
        texel, gain, bias, gain.view(np.uint16), bias.view(np.uint16), texel.reshape(-1).view(np.uint8),
        gain.reshape(-1).view(np.uint16), bias.reshape(-1).view(np.uint16), packed, packed.view(np.uint8), lit,
        lit.view(np.uint16), shaded, shaded.view(np.uint16), haze, haze.view(np.uint16), np.empty(3, np.float32),
        np.empty(width, np.int32), np.empty((2, width)), np.empty(2), np.empty(width, np.int32), np.empty(width,
        np.int32), np.empty((STRIP, width), np.int32), np.empty((2, STRIP, width), np.int32), np.empty((STRIP, width),
        np.int32),
    )  # fmt: skip

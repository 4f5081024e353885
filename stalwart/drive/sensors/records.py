"""The arrays that go through the camera's kernels, bundled by where they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stalwart.drive.compiled import Array
from stalwart.drive.sensors.cast import SLOT_FIELDS, SWEEP_FIELDS
from stalwart.drive.sensors.styles import STYLE_FIELDS
from stalwart.drive.sensors.surface import WEAR_FIELDS, WEAR_NUMBERS


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
    """`Fan.singles`."""
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
    """(boxes, 4 W) uint16, of walls, channel by channel."""
    biases: Array
    lights: Array
    wear: Array
    numbers: Array
    tints: Array
    spans: Array
    low: Array
    high: Array
    forward: Array
    left: Array
    code: Array
    reach: Array
    """(2, H) int64, between which columns of each row boxes are seen."""
    sweeps: Array
    """(boxes, SWEEP_FIELDS) float64, shadows."""
    dark: Array
    """(W,) uint8, how deep in shadow the pixels of one row lie."""
    veil: Array


class Row(NamedTuple):
    """Scratch: one row of ground or sky; what it is comes beside what its numbers mean in `ground` and `shading`."""

    texel: Array
    places: Array
    textures: Array
    kinds: Array
    paint: Array
    seen: Array
    eights: Array
    gain: Array
    bias: Array
    spots: Array
    """(W,) int32, the texels of boxes."""
    marks: Array
    """(W,) int32, which faces of boxes are seen."""
    light: Array
    """(H, 3, 4) uint16, of every row of ground."""
    kept: Array
    """(H,) float32, what share of light reaches the eye from there."""
    reflected: Array
    sky: Array
    layers: Array
    aim: Array
    style: Array
    """(fields,) float32, of the style that the rows are lit for."""
    lit: Array
    """(2,) float64, that style's number, -1 for none, and the height of the eye."""


Empty = Callable[[tuple[int, ...], Any], Any]
"""`numpy.empty`, or what makes the same on another device."""


def new_slots(boxes: int, height: int, width: int, empty: Empty) -> Slots:
    """Scratch made by `empty(shape, dtype)`."""
    one, each, four = (width,), (boxes, width), (boxes, 4 * width)
    return Slots(
        empty((boxes, SLOT_FIELDS), np.float64), empty((boxes,), np.int32), empty(each, np.float32),
        empty(each, np.int32), empty(each, np.int32), empty(four, np.uint16), empty(four, np.uint16),
        empty((4, width), np.float32), empty((boxes, WEAR_FIELDS), np.float32), empty((boxes, WEAR_NUMBERS), np.int32),
        empty((boxes, 3), np.float32), empty((boxes, 2), np.int32), empty(one, np.float32), empty(one, np.float32),
        empty((4,), np.float64), empty((4,), np.float64), empty((height, width), np.int32),
        empty((2, height), np.int64), empty((boxes, SWEEP_FIELDS), np.float64), empty(one, np.uint8),
        empty((height, width), np.uint8),
    )  # fmt: skip


def new_row(height: int, width: int, empty: Empty, eights: Any, seen: Any) -> Row:
    """Scratch likewise; `seen` are the bytes (2, 8 n) of `eights` (2, n) uint64, all 0, for n of at least width / 8."""
    one, four = (width,), (1, 4 * width)
    return Row(
        empty(one, np.uint32), empty(one, np.uint32), empty(one, np.uint32), empty((2, width), np.uint8),
        empty((3, width), np.uint8), seen, eights, empty(four, np.uint16), empty(four, np.uint16),
        empty(one, np.int32), empty(one, np.int32), empty((height, 3, 4), np.uint16), empty((height,), np.float32),
        empty((3,), np.float32), empty(one, np.int32), empty((2, 16), np.uint32), empty((6,), np.float64),
        empty((STYLE_FIELDS,), np.float32), empty((2,), np.float64),
    )  # fmt: skip

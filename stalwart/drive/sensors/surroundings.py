"""What stands beside the road, what lies beneath the wheels, and the sky."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.scene import Class
from stalwart.drive.sensors.bodies import Drawing
from stalwart.drive.sensors.canvas import FINE, Canvas, Doubles, noise
from stalwart.drive.sensors.styles import SKY_BEND, Colour, Style

# ---------------------------------------------------------------- ground


def grained(colour: Colour, seed: int, strength: float, coarse: float, size: int) -> NDArray[np.float32]:
    """A rough surface; the texture covers eight metres."""
    grain = noise(size, seed, {1: strength, 2: strength * 0.6, 8: coarse, 16: coarse})
    return Canvas(size, colour).times(1 + grain).done()


def slabs(size: int) -> NDArray[np.float32]:
    c = Canvas(size, (0.60, 0.58, 0.55))
    for k in range(8):
        c.box(0, k / 8, 1, k / 8 + 0.012, (0.42, 0.41, 0.39)).box(k / 8, 0, k / 8 + 0.012, 1, (0.42, 0.41, 0.39))
    return c.times(1 + noise(size, 5, {1: 0.08, 8: 0.14})).done()


GROUND: dict[str, Drawing] = {
    "grass": partial(grained, (0.33, 0.42, 0.20), 1, 0.30, 0.28),
    "asphalt": partial(grained, (0.34, 0.34, 0.35), 2, 0.09, 0.07),
    "gravel": partial(grained, (0.45, 0.41, 0.35), 3, 0.34, 0.12),
    "slabs": slabs,
    "bay": partial(grained, (0.36, 0.36, 0.37), 4, 0.09, 0.07),
    "concrete": partial(grained, (0.52, 0.51, 0.49), 6, 0.10, 0.10),
    "white_paint": partial(grained, (0.88, 0.88, 0.86), 7, 0.16, 0.08),
    "yellow_paint": partial(grained, (0.90, 0.72, 0.18), 8, 0.16, 0.08),
    "snow": partial(grained, (0.91, 0.93, 0.96), 9, 0.05, 0.06),
    "slush": partial(grained, (0.56, 0.57, 0.60), 10, 0.09, 0.22),
    "snowy_paint": partial(grained, (0.86, 0.88, 0.90), 11, 0.10, 0.08),
    "snowy_yellow": partial(grained, (0.86, 0.78, 0.50), 12, 0.10, 0.08),
}

UNDERFOOT: dict[Class, tuple[str, str]] = {
    Class.TERRAIN: ("grass", "snow"),
    Class.ROAD: ("asphalt", "slush"),
    Class.SHOULDER: ("gravel", "snow"),
    Class.SIDEWALK: ("slabs", "snow"),
    Class.PARKING: ("bay", "slush"),
    Class.PLOT: ("concrete", "snow"),
    Class.LINE: ("white_paint", "snowy_paint"),
    Class.YELLOW_LINE: ("yellow_paint", "snowy_yellow"),
    Class.STOP_LINE: ("white_paint", "snowy_paint"),
    Class.CROSSING: ("white_paint", "snowy_paint"),
    Class.ARROW: ("white_paint", "snowy_paint"),
}
"""Each ground class's texture, without and with snow."""

# ---------------------------------------------------------------- beside the road


def storey(wall: Colour, glass: Colour, seed: int, size: int) -> NDArray[np.float32]:
    """Two windows by two storeys; one of four is lit."""
    c = Canvas(size, wall).box(0, 0.485, 1, 0.5, (0.35, 0.34, 0.33)).box(0, 0.985, 1, 1, (0.35, 0.34, 0.33))
    lit = seed % 4
    for k in range(4):
        x, y = 0.5 * (k % 2), 0.5 * (k // 2)
        c.box(x + 0.10, y + 0.08, x + 0.40, y + 0.39, (0.86, 0.85, 0.82))
        pane, shine = ((0.95, 0.80, 0.48), 0.85) if k == lit else (glass, 0.0)
        c.box(x + 0.12, y + 0.10, x + 0.38, y + 0.37, pane, shine).box(x + 0.245, y + 0.1, x + 0.255, y + 0.37, wall)
    return c.times(1 + noise(size, seed, {1: 0.06, 16: 0.06})).done()


def curtain_wall(size: int) -> NDArray[np.float32]:
    c = Canvas(size, (0.30, 0.42, 0.50))
    c.box(0, 0.0, 1, 0.06, (0.62, 0.64, 0.66)).box(0, 0.5, 1, 0.56, (0.62, 0.64, 0.66))
    for k in range(4):
        c.box(k / 4, 0, k / 4 + 0.02, 1, (0.62, 0.64, 0.66))
    return c.box(0.27, 0.56, 0.5, 1, (0.85, 0.82, 0.62), 0.7).times(1 + noise(size, 21, {16: 0.25})).done()


def flat_roof(size: int) -> NDArray[np.float32]:
    return grained((0.42, 0.40, 0.38), 22, 0.12, 0.10, size)


def leaves(size: int, snow: float = 0.0) -> NDArray[np.float32]:
    """A crown's side: tufts lit from above, darker towards its underside and its edges; `snow` lies on the tufts."""
    tufts = noise(size, 23, {size // 8: 1.0, size // 16: 0.7}) + noise(size, 25, {2: 0.35, 1: 0.15})
    lit = np.clip(2.4 * (np.roll(tufts, size // 32, 0) - np.roll(tufts, -(size // 32), 0)), -0.55, 0.6)
    across, down = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2)
    shape = (1.18 - 0.62 * down**1.5) * (1 - 0.30 * abs(2 * across - 1) ** 3)
    gaps = np.where(tufts < -0.42, 0.45, 1.0)
    c = Canvas(size, (0.29, 0.44, 0.17)).times((1 + lit) * gaps * shape)
    if snow:
        white = np.clip(2.2 * lit + 0.5 * (0.6 - down), 0.0, 1.0) * snow
        fine = np.kron(white, np.ones((FINE, FINE)))
        c.pixels[:3] += (np.array([0.90, 0.92, 0.95])[:, None, None] - c.pixels[:3]) * fine
    return c.done()


def foliage(size: int) -> NDArray[np.float32]:
    """A crown from above."""
    return grained((0.33, 0.49, 0.20), 26, 0.35, 0.35, size)


def bark(size: int) -> NDArray[np.float32]:
    return Canvas(size, (0.33, 0.25, 0.18)).times(1 + noise(size, 24, {1: 0.3, 4: 0.3})).done()


def metal(size: int) -> NDArray[np.float32]:
    return Canvas(size, (0.52, 0.54, 0.55)).done()


def plain(size: int) -> NDArray[np.float32]:
    return Canvas(size, (1.0, 1.0, 1.0)).done()


LENSES: tuple[tuple[str, float, Colour], ...] = (
    ("r", 0.18, (1.0, 0.10, 0.07)), ("a", 0.50, (1.0, 0.66, 0.05)), ("g", 0.82, (0.08, 0.95, 0.40)),
)  # fmt: skip


def signal(lit: str, size: int) -> NDArray[np.float32]:
    """A head of three lenses of which those in `lit` ('r', 'a', 'g') shine."""
    c = Canvas(size, (0.07, 0.08, 0.08))
    for name, y, colour in LENSES:
        dim = (colour[0] * 0.22, colour[1] * 0.22, colour[2] * 0.22)
        c.disc(0.5, y, 0.36, colour if name in lit else dim, 1.0 if name in lit else 0.0, flat=0.40)
    return c.done()


def signal_back(size: int) -> NDArray[np.float32]:
    return Canvas(size, (0.10, 0.11, 0.11)).done()


def stop_sign(size: int) -> NDArray[np.float32]:
    corner = 0.29
    octagon = [(corner, 0.0), (1 - corner, 0.0), (1.0, corner), (1.0, 1 - corner), (1 - corner, 1.0), (corner, 1.0),
               (0.0, 1 - corner), (0.0, corner)]  # fmt: skip
    c = Canvas(size, (0.55, 0.58, 0.60)).polygon(octagon, (0.95, 0.95, 0.95))
    c.polygon([(0.5 + (x - 0.5) * 0.92, 0.5 + (y - 0.5) * 0.92) for x, y in octagon], (0.78, 0.06, 0.08))
    letters = {"S": "111100111001111", "T": "111010010010010", "O": "111101101101111", "P": "111101111100100"}
    for place, letter in enumerate("STOP"):
        for k, on in enumerate(letters[letter]):
            if on == "1":
                x, y = 0.10 + place * 0.21 + (k % 3) * 0.055, 0.36 + (k // 3) * 0.056
                c.box(x, y, x + 0.056, y + 0.057, (0.97, 0.97, 0.97))
    return c.done()


def yield_sign(size: int) -> NDArray[np.float32]:
    c = Canvas(size, (0.55, 0.58, 0.60)).polygon([(0.0, 0.04), (1.0, 0.04), (0.5, 0.98)], (0.82, 0.08, 0.09))
    return c.polygon([(0.17, 0.14), (0.83, 0.14), (0.5, 0.77)], (0.96, 0.96, 0.95)).done()


def limit_sign(size: int) -> NDArray[np.float32]:
    c = (
        Canvas(size, (0.55, 0.58, 0.60))
        .disc(0.5, 0.5, 0.49, (0.82, 0.08, 0.09))
        .disc(0.5, 0.5, 0.38, (0.96, 0.96, 0.95))
    )
    for x in (0.28, 0.54):
        c.box(x, 0.32, x + 0.19, 0.68, (0.08, 0.08, 0.09)).box(x + 0.065, 0.39, x + 0.125, 0.61, (0.96, 0.96, 0.95))
    return c.done()


def advert(paper: Colour, ink: Colour, seed: int, size: int) -> NDArray[np.float32]:
    """A picture of a few bold shapes within a frame."""
    c = Canvas(size, (0.25, 0.26, 0.27)).box(0.03, 0.05, 0.97, 0.95, paper)
    x = 0.25 + 0.12 * (seed % 4)
    c.disc(x, 0.42, 0.17, ink, flat=1.6).polygon([(x, 0.25), (0.90, 0.62), (0.10, 0.62)], ink)
    for k in range(2 + seed % 2):
        c.box(0.12, 0.70 + 0.08 * k, 0.50 + 0.10 * ((seed + k) % 4), 0.75 + 0.08 * k, (0.15, 0.15, 0.18))
    return c.done()


def chevrons(size: int) -> NDArray[np.float32]:
    c = Canvas(size, (0.94, 0.94, 0.92))
    return c.fill(((c.x * 4 + c.y * 2) % 1.0) < 0.5, (0.84, 0.14, 0.10)).done()


def rail(size: int) -> NDArray[np.float32]:
    c = (
        Canvas(size, (0.38, 0.40, 0.38))
        .box(0, 0.10, 1, 0.55, (0.66, 0.68, 0.70))
        .box(0, 0.28, 1, 0.36, (0.44, 0.46, 0.48))
    )
    return c.box(0.46, 0.5, 0.54, 1, (0.50, 0.52, 0.54)).done()


BESIDE: dict[str, Drawing] = {
    "brick": partial(storey, (0.58, 0.34, 0.27), (0.17, 0.21, 0.26), 1),
    "render": partial(storey, (0.80, 0.76, 0.66), (0.20, 0.25, 0.30), 2),
    "stone": partial(storey, (0.62, 0.61, 0.60), (0.16, 0.20, 0.25), 3),
    "curtain_wall": curtain_wall, "flat_roof": flat_roof, "leaves": leaves, "snowy_leaves": partial(leaves, snow=0.9),
    "foliage": foliage, "bark": bark, "metal": metal, "plain": plain,
    "signal_off": partial(signal, ""), "signal_red": partial(signal, "r"), "signal_red_amber": partial(signal, "ra"),
    "signal_amber": partial(signal, "a"), "signal_green": partial(signal, "g"), "signal_back": signal_back,
    "stop_sign": stop_sign, "yield_sign": yield_sign, "limit_sign": limit_sign, "chevrons": chevrons, "rail": rail,
    "advert_0": partial(advert, (0.95, 0.86, 0.30), (0.80, 0.16, 0.14), 0),
    "advert_1": partial(advert, (0.20, 0.48, 0.75), (0.96, 0.95, 0.90), 1),
    "advert_2": partial(advert, (0.95, 0.93, 0.90), (0.14, 0.52, 0.30), 2),
    "advert_3": partial(advert, (0.52, 0.20, 0.46), (0.98, 0.72, 0.30), 3),
}  # fmt: skip

# ---------------------------------------------------------------- sky


def height_in_sky(slope: Doubles) -> Doubles:
    """How far up a sky's texture slopes of 0 to 1 lie, in [0, 1]: so that its colour changes evenly from row to row.
    `frame.sky_row` finds the row in a kernel."""
    return (1 + SKY_BEND) * slope / (slope + SKY_BEND)


def sky(style: Style, layers: int, size: int) -> NDArray[np.float32]:
    """(layers, 4, size, size) the sky all the way around from the sun's azimuth on; rows rise as `height_in_sky`."""
    height = ((size - np.arange(size) - 0.5) / size)[:, None]
    rise, up = SKY_BEND * height / (1 + SKY_BEND - height), height / (1 + SKY_BEND)
    turn = ((np.arange(layers * size) + 0.5) / (layers * size) * 2 * math.pi)[None]
    towards = np.maximum(0.0, np.cos(turn)) ** 3 / (1 + 14 * rise**2 + 3 * rise)
    cells = ((size // 4, 0.8), (size // 8, 0.5), (size // 16, 0.3))
    clouds = np.sum([strength * noise(size * 2, 31 + cell, {cell: 1.0})[:size] for cell, strength in cells], 0)
    cover = np.clip(_drawn_out(clouds, layers // 2) * 1.8 + 0.12, 0, 1) * np.clip(rise * 8, 0, 1)
    cover = cover * cover * (3 - 2 * cover)
    hills = 0.030 + 0.022 * np.sin(3 * turn + 1) + 0.012 * np.sin(7 * turn) + 0.008 * np.sin(17 * turn + 2)
    out = np.zeros((4, size, layers * size))
    for c in range(3):
        clear = style.horizon[c] + (style.zenith[c] - style.horizon[c]) * up + style.glow[c] * towards
        painted = clear + (style.cloud[c] - clear) * cover * 0.75
        far = style.horizon[c] * 0.72 + 0.28 * (0.20, 0.27, 0.22)[c] * (style.sky[c] + 0.4 * style.sun[c])
        inside = np.clip((height_in_sky(np.maximum(hills, 0.0)) - height) * size + 0.5, 0, 1)
        out[c] = painted + (far - painted) * inside * (style.extinction_per_m <= 0.03)
    out = (np.clip(out, 0, 1) * 255).round() / 255
    return out.reshape(4, size, layers, size).transpose(2, 0, 1, 3).astype(np.float32)


def _drawn_out(field: Doubles, times: int) -> Doubles:
    """(H, W) to (H, times W), drawn out evenly; the right edge goes over into the left one."""
    at = (np.arange(field.shape[1] * times) + 0.5) / times - 0.5
    left = np.floor(at).astype(np.int64)
    a, b = (field[:, (left + k) % field.shape[1]] for k in (0, 1))
    return np.asarray(a + (b - a) * (at - left))

"""Weather and light, by name. Colours are display-referred RGB: 1 is white on the screen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError, nearest

Colour = tuple[float, float, float]
StyleName = Literal["sun", "cloud", "dusk", "night", "fog", "rain", "snow"]
"""The names of `STYLES`."""


@dataclass(frozen=True)
class Style:
    """One weather at one time of day."""

    name: str
    sun: Colour
    """Light of the sun on a surface that faces it; black where clouds or night hide it, and nothing casts a shadow."""
    sky: Colour
    """Light of the sky on a surface that faces upwards."""
    elevation_deg: float
    """Height of the sun."""
    zenith: Colour
    """Colour of the clear sky overhead."""
    horizon: Colour
    """Colour of the sky at the horizon, which distant things fade into."""
    glow: Colour
    """Added to the sky near the horizon beneath the sun."""
    cloud: Colour
    """Light on clouds."""
    extinction_per_m: float
    """How fast things fade with distance (Koschmieder's law; 3.9 over this is the meteorological visibility)."""
    emission: float = 0.25
    """How bright lamps, signals and lit windows shine by themselves."""
    lamps: float = 0.0
    """Light of the own head lamps just ahead."""
    gloss: float = 0.0
    """How much of the sky the wet ground reflects at a grazing angle."""
    snow: bool = False
    """Whether ground and roofs lie under snow."""
    drops_per_mpx: float = 0.0
    """Streaks of rain or flakes of snow in a million pixels."""
    drop_length: float = 0.0
    """Length of a streak as a share of the image's height; 0 is a flake."""


STYLES = (
    Style("sun", (0.72, 0.67, 0.56), (0.42, 0.46, 0.53),
          42.0, (0.24, 0.45, 0.80), (0.74, 0.83, 0.91), (0.12, 0.10, 0.05),
          (1.0, 1.0, 1.0), 0.0025),
    Style("cloud", (0.0, 0.0, 0.0), (0.84, 0.86, 0.90),
          50.0, (0.60, 0.64, 0.70), (0.78, 0.80, 0.83), (0.0, 0.0, 0.0),
          (0.86, 0.88, 0.91), 0.004),
    Style("dusk", (0.70, 0.42, 0.22), (0.56, 0.51, 0.57),
          11.0, (0.24, 0.30, 0.52), (0.86, 0.68, 0.57), (0.34, 0.16, 0.02),
          (0.86, 0.62, 0.56), 0.003, emission=0.8, lamps=0.15),
    Style("night", (0.0, 0.0, 0.0), (0.075, 0.080, 0.11),
          50.0, (0.012, 0.016, 0.04), (0.055, 0.06, 0.09), (0.0, 0.0, 0.0),
          (0.05, 0.05, 0.07), 0.004, emission=1.0, lamps=1.0),
    Style("fog", (0.0, 0.0, 0.0), (0.80, 0.81, 0.83),
          50.0, (0.74, 0.75, 0.77), (0.76, 0.77, 0.79), (0.0, 0.0, 0.0),
          (0.76, 0.77, 0.79), 0.045, emission=0.6),
    Style("rain", (0.0, 0.0, 0.0), (0.56, 0.58, 0.63),
          50.0, (0.42, 0.45, 0.50), (0.60, 0.62, 0.65), (0.0, 0.0, 0.0),
          (0.56, 0.59, 0.63), 0.012, emission=0.6, lamps=0.10, gloss=0.75, drops_per_mpx=7000.0, drop_length=0.10),
    Style("snow", (0.0, 0.0, 0.0), (0.82, 0.85, 0.90),
          50.0, (0.70, 0.73, 0.78), (0.83, 0.85, 0.88), (0.0, 0.0, 0.0),
          (0.84, 0.86, 0.89), 0.010, emission=0.5, snow=True, drops_per_mpx=9000.0),
)  # fmt: skip
"""All styles; a world's `Scene.style` is an index into them."""


def style(name: str) -> int:
    """A style's index.

    Raises:
        InputError: there is no style of that name; the nearest are named.
    """
    names = [s.name for s in STYLES]
    if name not in names:
        raise InputError(f"style must be one of the known. Got {name!r}. {nearest(name, names)}")
    return names.index(name)


SUN, SKY, ZENITH, HORIZON, GLOW, CLOUD = 0, 3, 6, 9, 12, 15
EXTINCTION, EMISSION, LAMPS, GLOSS, SINE, COTANGENT, SNOW, DROPS, DROP_LENGTH = range(18, 27)
STYLE_FIELDS = 27
SKY_BEND = 0.3
"""The slope at which rows of a sky's texture lie half as close as at the horizon; see `surroundings.height_in_sky`."""


def table() -> NDArray[np.float32]:
    """(styles, 27) what the kernels read, at the places that the names above say."""
    rows = []
    for s in STYLES:
        height = math.radians(s.elevation_deg)
        rest = [s.extinction_per_m, s.emission, s.lamps, s.gloss, math.sin(height), 1 / math.tan(height)]
        rows.append(
            [*s.sun, *s.sky, *s.zenith, *s.horizon, *s.glow, *s.cloud, *rest, s.snow, s.drops_per_mpx, s.drop_length]
        )
    return np.array(rows, np.float32)

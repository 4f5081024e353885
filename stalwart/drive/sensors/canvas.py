"""Drawing on a square of RGBA in shares of its side, from the upper left; and noise that repeats at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.sensors.styles import Colour

Doubles = NDArray[np.float64]
FINE = 4
"""A canvas is so many times finer than the texture it becomes."""


class Canvas:
    """A square to draw on, one colour to begin with."""

    def __init__(self, size: int, colour: Colour = (1.0, 1.0, 1.0)) -> None:
        self.size = size
        self.pixels = np.zeros((4, size * FINE, size * FINE))
        self.pixels[:3] = np.array(colour)[:, None, None]
        steps = (np.arange(size * FINE) + 0.5) / (size * FINE)
        self.x, self.y = np.meshgrid(steps, steps)

    def fill(self, where: NDArray[np.bool_], colour: Colour, shine: float = 0.0) -> Canvas:
        self.pixels[:3, where] = np.array(colour)[:, None]
        self.pixels[3, where] = shine
        return self

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, shine: float = 0.0) -> Canvas:
        inside = (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)
        return self.fill(inside, colour, shine)

    def disc(self, x: float, y: float, radius: float, colour: Colour, shine: float = 0.0, flat: float = 1.0) -> Canvas:
        """An ellipse `flat` times as high as it is wide."""
        return self.fill((self.x - x) ** 2 + ((self.y - y) / flat) ** 2 < radius**2, colour, shine)

    def polygon(self, corners: list[tuple[float, float]], colour: Colour, shine: float = 0.0) -> Canvas:
        """A convex polygon, its corners clockwise as seen."""
        inside = np.ones_like(self.x, bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            inside &= (x1 - x0) * (self.y - y0) - (y1 - y0) * (self.x - x0) >= 0
        return self.fill(inside, colour, shine)

    def times(self, factor: Doubles) -> Canvas:
        """Colours times a factor (size, size)."""
        self.pixels[:3] = (self.pixels[:3] * np.kron(factor, np.ones((FINE, FINE)))).clip(0, 1)
        return self

    def done(self) -> NDArray[np.float32]:
        """(4, size, size) in [0, 1], on the grid of 8 bits."""
        fine = self.pixels.reshape(4, self.size, FINE, self.size, FINE).mean((2, 4))
        return np.asarray((fine * 255).round() / 255, np.float32)


def noise(size: int, seed: int, scales: dict[int, float]) -> Doubles:
    """(size, size) of mean 0 that repeats at the edges: for each cell size in pixels the strength of its noise."""
    generator = np.random.Generator(np.random.PCG64(seed))
    total = np.zeros((size, size))
    for cell, strength in scales.items():
        rough = generator.random((max(1, size // cell),) * 2) - 0.5
        field: NDArray[np.floating[Any]] = np.kron(rough, np.ones((cell, cell)))
        for _ in range(2 if cell > 1 else 0):  # two boxes make a tent
            for axis in (0, 1):
                shifted = np.stack([np.roll(field, k - cell // 2, axis) for k in range(cell)])
                field = shifted.mean(0, dtype=np.float64)
        total += strength * 2 * field
    return total

"""What goes wrong with cameras, on demand: dirt, dead pixels, darkness, a frozen frame, a knock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.chance import uniform
from stalwart.drive.compiled import Array, Real, Whole, free_kernel
from stalwart.drive.scene import Bytes, Scene
from stalwart.drive.sensors.camera import Camera


@free_kernel
def _draws(out: Array, keys: Array, ticks: Array, what: Whole) -> None:
    for w in range(out.shape[0]):
        for n in range(out.shape[1]):
            out[w, n] = uniform(keys[w], ticks[w], what + n)


def draws(scene: Scene, count: int, what: int, lasting: bool) -> NDArray[np.float32]:
    """(worlds, count) uniform in [0, 1): numbers `what` and on of each world, for always or for this tick."""
    out = np.empty((scene.worlds, count), np.float32)
    _draws(out, scene.key, np.zeros_like(scene.tick) if lasting else scene.tick, what)
    return out


@free_kernel
def _smear(rgb: Array, spots: Array, strength: Real) -> None:
    height, width = rgb.shape[2], rgb.shape[3]
    for w in range(rgb.shape[0]):
        for v in range(height):
            for u in range(width):
                clean = np.float32(1.0)
                for k in range(spots.shape[1]):
                    x, y = (u + 0.5) / height - spots[w, k, 0], (v + 0.5) / height - spots[w, k, 1]
                    near = 1.0 - math.sqrt(x * x + y * y) / spots[w, k, 2]
                    if near > 0:
                        clean *= np.float32(1.0 - strength * min(1.0, 2.5 * near))
                if clean < 1:
                    for c in range(3):
                        mud = (72.0, 60.0, 46.0)[c]
                        rgb[w, c, v, u] = np.uint8(rgb[w, c, v, u] * clean + mud * (1 - clean) + 0.5)


@dataclass(frozen=True)
class DirtyLens:
    """Blots of mud that stay where they are, each world's own."""

    spots: int = 6
    radius: float = 0.12
    """The largest blot's, as a share of the height."""
    strength: float = 0.9
    """How much a blot hides in its middle, in [0, 1]."""

    def __call__(self, rgb: Bytes, scene: Scene) -> Bytes:
        """Pictures (worlds, 3, H, W) uint8 as they come through."""
        height, width = rgb.shape[2:]
        at = draws(scene, 3 * self.spots, 1 << 20, lasting=True).reshape(scene.worlds, self.spots, 3).astype(np.float64)
        at *= [width / height, 1.0, self.radius * 0.7]
        at[..., 2] += self.radius * 0.3
        out = rgb.copy()
        _smear(out, at, self.strength)
        return out


@dataclass(frozen=True)
class DeadPixels:
    """Pixels that are black or white for always, each world's own."""

    share: float = 0.002

    def __post_init__(self) -> None:
        _in_unit("dead_pixels.share", self.share)

    def __call__(self, rgb: Bytes, scene: Scene) -> Bytes:
        height, width = rgb.shape[2:]
        chance = draws(scene, height * width, 2 << 20, lasting=True).reshape(-1, 1, height, width)
        dark = np.where(chance < self.share / 2, 0, rgb)
        return np.where((chance >= self.share / 2) & (chance < self.share), 255, dark).astype(np.uint8)


@dataclass(frozen=True)
class Blackout:
    """Now and then a picture is all black, each tick by itself."""

    chance: float = 0.05

    def __post_init__(self) -> None:
        _in_unit("blackout.chance", self.chance)

    def __call__(self, rgb: Bytes, scene: Scene) -> Bytes:
        gone = draws(scene, 1, 3 << 20, lasting=False)[:, 0] < self.chance
        return np.where(gone[:, None, None, None], 0, rgb).astype(np.uint8)


class FrozenFrame:
    """Now and then a picture stays for some ticks."""

    def __init__(self, chance: float = 0.02, ticks: int = 10) -> None:
        _in_unit("frozen_frame.chance", chance)
        if ticks < 1:
            raise InputError(f"frozen_frame.ticks must be at least 1. Got {ticks!r}.")
        self.chance, self.ticks = chance, ticks
        self._kept: Bytes | None = None
        self._left = np.zeros(0, np.int64)

    def __call__(self, rgb: Bytes, scene: Scene) -> Bytes:
        if self._kept is None or self._kept.shape != rgb.shape:
            self._kept, self._left = rgb.copy(), np.zeros(scene.worlds, np.int64)
        begins = (self._left == 0) & (draws(scene, 1, 4 << 20, lasting=False)[:, 0] < self.chance)
        frozen = self._left > 0
        self._kept = np.where(frozen[:, None, None, None], self._kept, rgb)
        self._left = np.where(begins, self.ticks, np.maximum(self._left - 1, 0))
        return self._kept.copy()


def misaligned(camera: Camera, yaw_deg: float = 1.5, rows: float = 2.0) -> Camera:
    """The camera after a knock: turned, and its picture moved downwards by some rows."""
    return replace(camera, yaw_deg=camera.yaw_deg + yaw_deg, horizon=camera.horizon + rows / camera.height)


def _in_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be in [0, 1]. Got {value!r}.")

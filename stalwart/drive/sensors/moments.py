"""What a sensor's noise is drawn from: each world's key, its tick, and which sensor it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.core.rng import seed_of
from stalwart.drive.chance import mixed
from stalwart.drive.compiled import Array, Whole, free_kernel, part
from stalwart.drive.scene import Scene

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@free_kernel
def _moments(out: Array, keys: Array, ticks: Array, salt: Whole) -> None:
    for w in range(out.shape[0]):
        out[w] = moment_of(keys[w], ticks[w], salt)


@part
def moment_of(key: Whole, tick: Whole, salt: Whole) -> Whole:
    """A world's key at a tick, for a sensor's hash `salt`."""
    return mixed(key ^ mixed(np.uint64(salt) + np.uint64(tick) * _GOLDEN))


def moment(scene: Scene, *parts: int | str) -> NDArray[np.uint64]:
    """(worlds,) uint64, a key for each world at its tick and for what `parts` say."""
    out = np.empty(scene.worlds, np.uint64)
    _moments(out, scene.key, scene.tick, np.uint64(seed_of(*parts)))
    return out

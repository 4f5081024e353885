"""Random numbers by counting: the n-th number of a world is a hash of its key, the tick and what it is for.

The hash is splitmix64's, as in `core/rng.py`; so a number does not depend on batch size, order or threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stalwart.core.rng import seed_of
from stalwart.drive.compiled import part

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _40, _32 = (np.uint64(n) for n in (30, 27, 31, 40, 32))


def finalised(z: Any) -> Any:
    """The splitmix64 finaliser of a uint64, or of an array of them."""
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return z ^ (z >> _31)


mixed = part(finalised)
"""The same for kernels."""


@part
def uniform(key: Any, tick: int, what: int) -> Any:
    """A float32 in [0, 1): number (tick, what) of the stream of `key` (uint64)."""
    counter = (np.uint64(tick) << _32) ^ np.uint64(what)
    return np.float32(mixed(mixed(key) + counter * GOLDEN) >> _40) * np.float32(2.0**-24)


def world_keys(seed: int, worlds: int, first: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """(worlds,) uint64, the keys of worlds `first` and on; a world's key does not depend on how many there are."""
    return np.array([seed_of(seed, "world", first + k) for k in range(worlds)], np.uint64)

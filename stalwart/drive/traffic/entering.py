"""Vehicles who come into worlds at lanes' beginnings when they are sent, if there is room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import Whole, free_kernel, single
from stalwart.drive.geometry.tables import DRIVES, DRIVES_END, ENTRIES, ENTRIES_END, Places, Tables
from stalwart.drive.traffic.around import Floats
from stalwart.drive.traffic.drivers import Crowd
from stalwart.drive.traffic.spawn import embody, free, place
from stalwart.drive.world.state import ALIVE, LENGTH_M, Ints, Words

_ENTRY_M, _HALF = single(2.0), single(0.5)
_NO: Whole = np.bool_(False)


def close(places: Places) -> None:
    """From now on nobody comes onto these maps by himself, neither when an episode begins nor later."""
    places.map_n[:, ENTRIES_END] = places.map_n[:, ENTRIES]
    places.map_n[:, DRIVES_END] = places.map_n[:, DRIVES]


@free_kernel
def enter(
    t: Tables, floats: Floats, ints: Ints, words: Words, traits: Floats, crowd: Crowd, egos: int, lanes: Ints,
    wanted: NDArray[np.int64],
) -> NDArray[np.bool_]:  # fmt: skip
    """Send at most one vehicle into each lane.

    Args:
        floats, ints, words, traits: the fields of `world.state.State`.
        lanes: (W, L) int32 lanes of each world.
        wanted: (W, L) how many would like to come in there.

    Returns:
        (W, L): one came in. Not so where somebody is too near, or all vehicles of the world are under way.
    """
    came = np.zeros(wanted.shape, np.bool_)
    for i in range(len(floats)):
        f, n, a = floats[i], ints[i], egos
        for k in range(lanes.shape[1]):
            while a < f.shape[1] and n[ALIVE, a]:
                a += 1
            if wanted[i, k] <= 0 or a >= f.shape[1]:
                continue
            lane = lanes[i, k]
            # Nobody walks, none is from outside, no motorway.
            embody(f, n, words[i], traits[i], crowd, a, _NO, _NO, _NO)
            s = _ENTRY_M + _HALF * f[LENGTH_M, a]
            if free(t, f, n, traits[i], a, lane, s):
                place(t, f, n, words[i], traits[i], a, lane, s)
                came[i, k] = True
    return came

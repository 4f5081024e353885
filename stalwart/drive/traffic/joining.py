"""Drivers from outside who begin anew, each alone, in worlds that go on."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.chance import mixed
from stalwart.drive.compiled import Whole, free_kernel, part
from stalwart.drive.geometry.tables import Places, Tables
from stalwart.drive.threads import share
from stalwart.drive.traffic.around import Floats
from stalwart.drive.traffic.drivers import Crowd
from stalwart.drive.traffic.spawn import lay_route, settle
from stalwart.drive.world.state import ALIVE, KEY, TICK, Ints, Words

_ANYWHERE: Whole = np.bool_(True)
_DRIVES: Whole = np.bool_(False)


def join(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, routes: Ints, traits: Floats, crowd: Crowd,
    mask: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Place the drivers of the mask (W, E) on their maps and give them routes, by chance that follows from the world's
    key and tick. For whom there is no room anywhere stays out: it is not alive then."""
    share(partial(_join, t, p, floats, ints, words, routes, traits, crowd, mask), len(floats))


@free_kernel
def _join(
    t: Tables, p: Places, floats: Floats, ints: Ints, words: Words, routes: Ints, traits: Floats, crowd: Crowd,
    mask: NDArray[np.bool_], first: int, last: int,
) -> None:  # fmt: skip
    for i in range(first, last):
        for e in range(routes.shape[1]):
            if mask[i, e]:
                come(t, p, floats[i], ints[i], words[i], routes[i], traits[i], crowd, e)


@part
def come(t: Tables, p: Places, f: Floats, n: Ints, z: Words, route: Ints, mine: Floats, crowd: Crowd, e: int) -> None:
    """One driver from outside begins anew."""
    key = z[KEY]
    z[KEY] = mixed(key + z[TICK])  # for now: routes are drawn from the key alone
    n[ALIVE, e] = 0
    settle(t, p, f, n, z, mine, crowd, route.shape[0], e, _DRIVES, _ANYWHERE)
    if n[ALIVE, e]:
        lay_route(t, f, n, z, route, e)
    z[KEY] = key

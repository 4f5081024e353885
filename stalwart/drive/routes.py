"""Where a driver's route lies, seen from the driver: what a navigation device shows, and what labels are made of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import free_kernel, single
from stalwart.drive.geometry.tables import LANE_M, Tables, pose_at
from stalwart.drive.world.state import ROUTE_AT, ROUTE_S_M, X_M, Y_M, YAW_RAD, Floats, Ints

_ZERO = single(0.0)


@free_kernel
def route_poses(t: Tables, floats: Floats, ints: Ints, routes: Ints, at_m: Floats, out: Floats) -> None:
    """Fill (W, n, 4): x, y, cos and sin of the heading of points of the first driver's route, in its own frame (ahead,
    left; heading against its own).

    Args:
        at_m: (W, n) way along the route from where the driver is beside it; below 0 behind. Before the first and
            beyond the last lane the route goes straight on.
    """
    for w in range(out.shape[0]):
        f, route = floats[w], routes[w, 0]
        start = ints[w, ROUTE_AT, 0]
        cosine, sine = math.cos(f[YAW_RAD, 0]), math.sin(f[YAW_RAD, 0])
        for k in range(out.shape[1]):
            r, s = start, f[ROUTE_S_M, 0] + at_m[w, k]
            while s < _ZERO and r > 0:
                r -= 1
                s += t.lane_f[route[r], LANE_M]
            while s > t.lane_f[route[r], LANE_M] and r + 1 < route.shape[0] and route[r + 1] >= 0:
                s -= t.lane_f[route[r], LANE_M]
                r += 1
            x, y, c, sn, _, _ = pose_at(t, route[r], s)
            dx, dy = x - f[X_M, 0], y - f[Y_M, 0]
            out[w, k, 0], out[w, k, 1] = dx * cosine + dy * sine, dy * cosine - dx * sine
            out[w, k, 2], out[w, k, 3] = c * cosine + sn * sine, sn * cosine - c * sine


def route_ahead(t: Tables, floats: Floats, ints: Ints, routes: Ints, at_m: NDArray[np.floating]) -> Floats:
    """(W, n, 4) new array; see `route_poses`."""
    out = np.empty((*at_m.shape, 4), np.float32)
    route_poses(t, floats, ints, routes, np.ascontiguousarray(at_m, np.float32), out)
    return out

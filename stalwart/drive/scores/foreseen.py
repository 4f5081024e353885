"""How soon a driver would touch somebody if everyone went on as they go now."""

from __future__ import annotations

import math
from functools import partial

from stalwart.drive.compiled import free_kernel, single
from stalwart.drive.threads import share
from stalwart.drive.world.contact import overlap
from stalwart.drive.world.state import (
    ALIVE,
    LENGTH_M,
    SPEED_MPS,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Floats,
    Ints,
)

_STEP_S, _FARTHEST_S = single(0.1), single(3.1)
_STEPS = 30
_ZERO, _STILL = single(0.0), single(0.05)


def least_times(floats: Floats, ints: Ints, out: Floats) -> None:
    """Fill (W, E) with the seconds until the driver's box meets another's, both at constant speed and heading; infinity
    where none does within 3 s.

    As nuPlan has it (`time_to_collision_within_bound`): looked at every 0.1 s, a driver that stands meets nobody, and
    who is behind it does not count.
    """
    share(partial(_least_times, floats, ints, out), len(floats))


@free_kernel
def _least_times(floats: Floats, ints: Ints, out: Floats, first: int, last: int) -> None:
    for i in range(first, last):
        f, n = floats[i], ints[i]
        for e in range(out.shape[1]):
            out[i, e] = math.inf
            v = f[SPEED_MPS, e]
            if v < _STILL or not n[ALIVE, e]:
                continue
            c, s = math.cos(f[YAW_RAD, e]), math.sin(f[YAW_RAD, e])
            for j in range(f.shape[1]):
                if j == e or not n[ALIVE, j]:
                    continue
                dx, dy = f[X_M, j] - f[X_M, e], f[Y_M, j] - f[Y_M, e]
                w = f[SPEED_MPS, j]
                reach = (v + w) * _FARTHEST_S + f[LENGTH_M, e] + f[LENGTH_M, j]
                if dx * c + dy * s <= _ZERO or dx * dx + dy * dy > reach * reach:
                    continue
                vx = w * math.cos(f[YAW_RAD, j]) - v * c
                vy = w * math.sin(f[YAW_RAD, j]) - v * s
                for k in range(_STEPS + 1):
                    time = k * _STEP_S
                    if time >= out[i, e]:
                        break
                    if overlap(
                        f[X_M, e], f[Y_M, e], f[YAW_RAD, e], f[LENGTH_M, e], f[WIDTH_M, e],
                        f[X_M, j] + time * vx, f[Y_M, j] + time * vy, f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j],
                    ):  # fmt: skip
                        out[i, e] = time
                        break

"""Who touches whom or what, and whose fault it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.compiled import free_kernel, kernel, part, single
from stalwart.drive.geometry.tables import BOXES, BROAD_M, GROUPS, GROUPS_END, MOST_TOGETHER, Places, Tables
from stalwart.drive.scene import Class
from stalwart.drive.traffic.around import Floats
from stalwart.drive.world.contact import at_fault, contact, overlap
from stalwart.drive.world.state import (
    ALIVE,
    D_M,
    FAULT,
    HIT,
    KIND,
    LANE,
    LENGTH_M,
    SPEED_MPS,
    WIDTH_M,
    X_M,
    Y_M,
    YAW_RAD,
    Ints,
)  # fmt: skip

_HALF, _WALKER = single(0.5), int(Class.PEDESTRIAN)


@kernel
def touch(t: Tables, p: Places, f: Floats, n: Ints, e: int, m: int) -> None:
    """Write what the driver from outside touches first, and whether it is to blame."""
    x, y, yaw, length, width = f[X_M, e], f[Y_M, e], f[YAW_RAD, e], f[LENGTH_M, e], f[WIDTH_M, e]
    speed = f[SPEED_MPS, e]
    for j in range(f.shape[1] if _met(f, n, e) else 0):
        dx, dy = f[X_M, j] - x, f[Y_M, j] - y
        reach = _HALF * (length + width + f[LENGTH_M, j] + f[WIDTH_M, j])
        if (
            j != e
            and n[ALIVE, j]
            and dx * dx + dy * dy <= reach * reach
            and overlap(x, y, yaw, length, width, f[X_M, j], f[Y_M, j], f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j])
        ):
            how = contact(
                x, y, yaw, length, width, speed,
                f[X_M, j], f[Y_M, j], f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j], f[SPEED_MPS, j],
            )  # fmt: skip
            n[HIT, e] = j
            n[FAULT, e] = at_fault(how, f[D_M, e], t.lane_f[n[LANE, e], BROAD_M], width)
            return
    for g in range(p.map_n[m, GROUPS], p.map_n[m, GROUPS_END]):
        dx, dy, reach = p.group_m[0, g] - x, p.group_m[1, g] - y, p.group_m[2, g] + _HALF * (length + width)
        if dx * dx + dy * dy > reach * reach:
            continue
        for k in range(MOST_TOGETHER):
            b = p.group_n[g, k]
            if b >= 0 and overlap(
                x, y, yaw, length, width, p.box_m[0, b], p.box_m[1, b], p.box_m[2, b], p.box_m[3, b], p.box_m[4, b]
            ):
                n[HIT, e] = f.shape[1] + b - p.map_n[m, BOXES]
                n[FAULT, e] = 1
                return


@part
def _met(f: Floats, n: Ints, e: int) -> bool:
    """Whether another body may touch this one; without a branch, eight at a time."""
    x, y, girth, me, some = f[X_M, e], f[Y_M, e], f[LENGTH_M, e] + f[WIDTH_M, e], np.int32(e), np.uint32(0)
    for j in range(np.uint64(f.shape[1])):
        dx, dy, reach = f[X_M, j] - x, f[Y_M, j] - y, _HALF * (girth + f[LENGTH_M, j] + f[WIDTH_M, j])
        near = (dx * dx + dy * dy <= reach * reach) & (n[ALIVE, j] != 0) & (np.int32(j) != me)
        some = np.uint32(some | np.uint32(near))
    return bool(some > 0)


@free_kernel
def touching(floats: Floats, ints: Ints, out: NDArray[np.bool_]) -> None:
    """Write (W, N) which agents touch another one; walkers pass through each other."""
    for i in range(floats.shape[0]):
        f, n = floats[i], ints[i]
        out[i, :] = False
        for a in range(f.shape[1]):
            for j in range(a):
                if not (n[ALIVE, a] and n[ALIVE, j]) or (n[KIND, a] == _WALKER and n[KIND, j] == _WALKER):
                    continue
                if overlap(
                    f[X_M, a], f[Y_M, a], f[YAW_RAD, a], f[LENGTH_M, a], f[WIDTH_M, a],
                    f[X_M, j], f[Y_M, j], f[YAW_RAD, j], f[LENGTH_M, j], f[WIDTH_M, j],
                ):  # fmt: skip
                    out[i, a] = True
                    out[i, j] = True

"""All bodies of a world moved on a tick, in short loops that go through eight at a time; see `around.note`."""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import part, single
from stalwart.drive.traffic.around import (
    ARC,
    COS,
    LANE_BEND,
    LANE_COS,
    LANE_MPS,
    LANE_SIN,
    NEAR_M,
    NEAR_MPS,
    OFF_RAD,
    SIN,
    WHEELBASE_M,
    Floats,
)
from stalwart.drive.world.angles import tangent
from stalwart.drive.world.bicycle import asked_accel, asked_steer, curved, displaced, driven
from stalwart.drive.world.bodies import FIRST_KIND, JERK, LIMITS, MOST_ACCEL, MOST_BRAKE, MOST_STEER, STEER_RATE
from stalwart.drive.world.state import (
    ACCEL_MPS2,
    ALIVE,
    KIND,
    SPEED_MPS,
    STEER_RAD,
    WANTED_ACCEL_MPS2,
    WANTED_STEER_RAD,
    X_M,
    Y_M,
    YAW_RAD,
    Ints,
)

_ZERO = single(0.0)
_ACCEL_MPS2, _STEER_RAD, _TILT, _WAY_M, _LATER_MPS, _CURVE, _FORWARD_M, _LEFT_M = (
    NEAR_M, NEAR_MPS, ARC, LANE_COS, LANE_SIN, LANE_BEND, LANE_MPS, OFF_RAD,
)  # fmt: skip
"""Rows of `around.NOTES` once all have decided: acceleration and steering angle that bodies make of what is wanted,
tangent of the latter; way, speed after it and curvature; where that leads to, as the body sees it."""


@part
def move_all(f: Floats, n: Ints, notes: Floats, grip: float, dt: float) -> None:
    """Move everyone who is alive on an arc: what `world.bicycle` says of each."""
    count = np.uint64(f.shape[1])
    for a in range(count):
        kind = n[KIND, a] - FIRST_KIND
        notes[_ACCEL_MPS2, a] = asked_accel(
            f[ACCEL_MPS2, a], f[WANTED_ACCEL_MPS2, a], LIMITS[kind, MOST_ACCEL], LIMITS[kind, MOST_BRAKE],
            LIMITS[kind, JERK], grip, dt,
        )  # fmt: skip
        notes[_STEER_RAD, a] = asked_steer(
            f[STEER_RAD, a], f[WANTED_STEER_RAD, a], LIMITS[kind, MOST_STEER], LIMITS[kind, STEER_RATE], dt
        )
    for a in range(count):
        notes[_TILT, a] = tangent(notes[_STEER_RAD, a])
    for a in range(count):
        notes[_WAY_M, a], notes[_LATER_MPS, a] = driven(f[SPEED_MPS, a], notes[_ACCEL_MPS2, a], dt)
    for a in range(count):
        notes[_CURVE, a] = curved(f[SPEED_MPS, a], notes[_ACCEL_MPS2, a], notes[_TILT, a], notes[WHEELBASE_M, a], grip)
    for a in range(count):
        notes[_FORWARD_M, a], notes[_LEFT_M, a] = displaced(notes[_WAY_M, a], notes[_CURVE, a], notes[_TILT, a])
    for a in range(count):
        x = f[X_M, a] + notes[COS, a] * notes[_FORWARD_M, a] - notes[SIN, a] * notes[_LEFT_M, a]
        f[X_M, a] = x if n[ALIVE, a] != 0 else f[X_M, a]
    for a in range(count):
        y = f[Y_M, a] + notes[SIN, a] * notes[_FORWARD_M, a] + notes[COS, a] * notes[_LEFT_M, a]
        f[Y_M, a] = y if n[ALIVE, a] != 0 else f[Y_M, a]
    for a in range(count):
        yaw = f[YAW_RAD, a] + notes[_CURVE, a] * notes[_WAY_M, a]
        f[YAW_RAD, a] = yaw if n[ALIVE, a] != 0 else f[YAW_RAD, a]
    for a in range(count):
        f[SPEED_MPS, a] = notes[_LATER_MPS, a] if n[ALIVE, a] != 0 else f[SPEED_MPS, a]
    for a in range(count):
        accel = max(notes[_ACCEL_MPS2, a], _ZERO) if notes[_LATER_MPS, a] == _ZERO else notes[_ACCEL_MPS2, a]
        f[ACCEL_MPS2, a] = accel if n[ALIVE, a] != 0 else f[ACCEL_MPS2, a]
    for a in range(count):
        f[STEER_RAD, a] = notes[_STEER_RAD, a] if n[ALIVE, a] != 0 else f[STEER_RAD, a]

"""The state of all worlds, side by side: one array for each quantity, (worlds, agents) unless it says otherwise.

Beneath lie two blocks, (worlds, quantities, agents) of float32 and of int32, so that a world lies together in memory
and a kernel is handed two arrays and not thirty. The named arrays are views of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.scene import Class

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Words = NDArray[np.uint64]


FLOAT_ROWS = (
    X_M,
    Y_M,
    YAW_RAD,
    SPEED_MPS,
    ACCEL_MPS2,
    STEER_RAD,
    LENGTH_M,
    WIDTH_M,
    HEIGHT_M,
    S_M,
    D_M,
    WAITED_S,
    TARGET_D_M,
    WANTED_ACCEL_MPS2,
    WANTED_STEER_RAD,
    ROUTE_S_M,
    ROUTE_D_M,
    DRIVEN_M,
) = range(18)
INT_ROWS = (
    KIND,
    ALIVE,
    LANE,
    NEXT_LANE,
    AFTER_LANE,
    SHOWN_LANE,
    STOPPED_FOR,
    ROUTE_AT,
    HIT,
    FAULT,
) = range(10)
"""Rows of the two blocks."""
KEY, TICK, MAP = range(3)
"""Columns of the words."""


@dataclass(frozen=True, eq=False)
class State:
    """W worlds, N agents; the first E of each world are driven from outside. Kernels write in place."""

    floats: Floats
    """(W, 18, N) the block of float32."""
    ints: Ints
    """(W, 10, N) the block of int32."""
    words: Words
    """(W, 3) the key of the world's random numbers, another one in each episode; steps from 1 on; the map."""
    route: Ints
    """(W, E, R) lanes that a driver from outside is to take; −1 beyond the last."""
    traits: Floats
    """(W, N, 14) see `traffic.drivers.TRAITS`."""
    grip_mps2: Floats
    """(W,) the friction circle's radius: μ g."""
    x_m: Floats = field(init=False, repr=False)
    """The middle of the body."""
    y_m: Floats = field(init=False, repr=False)
    yaw_rad: Floats = field(init=False, repr=False)
    speed_mps: Floats = field(init=False, repr=False)
    accel_mps2: Floats = field(init=False, repr=False)
    steer_rad: Floats = field(init=False, repr=False)
    """Angle of the front wheels, left is positive."""
    length_m: Floats = field(init=False, repr=False)
    width_m: Floats = field(init=False, repr=False)
    height_m: Floats = field(init=False, repr=False)
    s_m: Floats = field(init=False, repr=False)
    """Arc length along that lane."""
    d_m: Floats = field(init=False, repr=False)
    """Distance from its centre line, left is positive."""
    waited_s: Floats = field(init=False, repr=False)
    """How long it has been standing or as good as."""
    target_d_m: Floats = field(init=False, repr=False)
    """Where in its lane it keeps."""
    wanted_accel_mps2: Floats = field(init=False, repr=False)
    wanted_steer_rad: Floats = field(init=False, repr=False)
    route_s_m: Floats = field(init=False, repr=False)
    """Arc length along that lane."""
    route_d_m: Floats = field(init=False, repr=False)
    """Distance from its centre line."""
    driven_m: Floats = field(init=False, repr=False)
    """Progress along the route since the start."""
    kind: Ints = field(init=False, repr=False)
    """`scene.Class`, CAR to OBSTACLE."""
    alive: Ints = field(init=False, repr=False)
    """1 where somebody is, else 0."""
    lane: Ints = field(init=False, repr=False)
    """The lane that the agent is in, numbered through all maps."""
    next_lane: Ints = field(init=False, repr=False)
    """The lane that it will take next; −1: none follows."""
    after_lane: Ints = field(init=False, repr=False)
    """And the one after that."""
    shown_lane: Ints = field(init=False, repr=False)
    """The next lane that it signals, which a careless driver gets wrong."""
    stopped_for: Ints = field(init=False, repr=False)
    """The junction lane before whose line it has stopped; −1: none."""
    route_at: Ints = field(init=False, repr=False)
    """Which lane of its route a driver from outside is in or beside."""
    hit: Ints = field(init=False, repr=False)
    """What a driver from outside touched first: an agent's number, N + a box's number in its map, or −1."""
    fault: Ints = field(init=False, repr=False)
    """1 where that was its fault."""

    def __post_init__(self) -> None:
        for row, name in enumerate(_FLOATS):
            object.__setattr__(self, name, self.floats[:, row])
        for row, name in enumerate(_INTS):
            object.__setattr__(self, name, self.ints[:, row])

    @property
    def worlds(self) -> int:
        return len(self.floats)

    @property
    def agents(self) -> int:
        return int(self.floats.shape[2])

    @property
    def egos(self) -> int:
        return int(self.route.shape[1])


_FLOATS = (
    "x_m",
    "y_m",
    "yaw_rad",
    "speed_mps",
    "accel_mps2",
    "steer_rad",
    "length_m",
    "width_m",
    "height_m",
    "s_m",
    "d_m",
    "waited_s",
    "target_d_m",
    "wanted_accel_mps2",
    "wanted_steer_rad",
    "route_s_m",
    "route_d_m",
    "driven_m",
)
_INTS = (
    "kind",
    "alive",
    "lane",
    "next_lane",
    "after_lane",
    "shown_lane",
    "stopped_for",
    "route_at",
    "hit",
    "fault",
)


def empty_state(worlds: int, agents: int, egos: int, route: int = 24) -> State:
    """Nobody alive yet."""
    ints = np.full((worlds, len(INT_ROWS), agents), -1, np.int32)
    ints[:, KIND] = Class.CAR
    ints[:, (ALIVE, ROUTE_AT, FAULT)] = 0
    return State(
        np.zeros((worlds, len(FLOAT_ROWS), agents), np.float32),
        ints,
        np.zeros((worlds, 3), np.uint64),
        np.full((worlds, egos, route), -1, np.int32),
        np.zeros((worlds, agents, 14), np.float32),
        np.full(worlds, 0.8 * 9.81, np.float32),
    )

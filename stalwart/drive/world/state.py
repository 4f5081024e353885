"""The state of all worlds, side by side: one array for each quantity, (worlds, agents) unless it says otherwise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.scene import Class

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


class State(NamedTuple):
    """W worlds, N agents; the first E of each world are driven from outside. Kernels write in place."""

    x_m: Floats
    """The middle of the body."""
    y_m: Floats
    yaw_rad: Floats
    speed_mps: Floats
    accel_mps2: Floats
    steer_rad: Floats
    """Angle of the front wheels, left is positive."""
    length_m: Floats
    width_m: Floats
    height_m: Floats
    kind: NDArray[np.uint8]
    """`scene.Class`, CAR to OBSTACLE."""
    alive: NDArray[np.bool_]
    lane: Ints
    """The lane that the agent is in, numbered through all maps."""
    s_m: Floats
    """Arc length along that lane."""
    d_m: Floats
    """Distance from its centre line, left is positive."""
    next_lane: Ints
    """The lane that it will take next; −1: none follows."""
    after_lane: Ints
    """And the one after that."""
    shown_lane: Ints
    """The next lane that it signals, which a careless driver gets wrong."""
    waited_s: Floats
    """How long it has been standing or as good as."""
    stopped_for: Ints
    """The junction lane before whose line it has stopped; −1: none."""
    target_d_m: Floats
    """Where in its lane it keeps."""
    wanted_accel_mps2: Floats
    wanted_steer_rad: Floats
    route_lane: Ints
    """(W, E, R) lanes that a driver from outside is to take; −1 beyond the last."""
    route_at: Ints
    """(W, E) which of them it is in or beside."""
    route_s_m: Floats
    """(W, E) arc length along that lane."""
    route_d_m: Floats
    """(W, E) distance from its centre line."""
    driven_m: Floats
    """(W, E) progress along the route since the start."""
    hit: Ints
    """(W, E) what it touched first: an agent's number, N + a box's number in its map, or −1."""
    fault: NDArray[np.bool_]
    """(W, E) whether that was its fault."""
    key: NDArray[np.uint64]
    """(W,) what the world's random numbers are drawn from; another one in each episode."""
    tick: NDArray[np.int64]
    """(W,) steps since the start."""
    grip_mps2: Floats
    """(W,) the friction circle's radius: μ g."""
    map_of_world: Ints
    """(W,)"""


def empty_state(worlds: int, agents: int, egos: int, route: int) -> State:
    """Nobody alive yet."""

    def floats(*shape: int) -> Floats:
        return np.zeros(shape or (worlds, agents), np.float32)

    def none(*shape: int) -> Ints:
        return np.full(shape or (worlds, agents), -1, np.int32)

    return State(
        x_m=floats(), y_m=floats(), yaw_rad=floats(), speed_mps=floats(), accel_mps2=floats(), steer_rad=floats(),
        length_m=floats(), width_m=floats(), height_m=floats(),
        kind=np.full((worlds, agents), Class.CAR, np.uint8),
        alive=np.zeros((worlds, agents), np.bool_),
        lane=none(), s_m=floats(), d_m=floats(), next_lane=none(), after_lane=none(), shown_lane=none(),
        waited_s=floats(), stopped_for=none(), target_d_m=floats(),
        wanted_accel_mps2=floats(), wanted_steer_rad=floats(),
        route_lane=none(worlds, egos, route),
        route_at=np.zeros((worlds, egos), np.int32),
        route_s_m=floats(worlds, egos), route_d_m=floats(worlds, egos), driven_m=floats(worlds, egos),
        hit=none(worlds, egos),
        fault=np.zeros((worlds, egos), np.bool_),
        key=np.zeros(worlds, np.uint64),
        tick=np.zeros(worlds, np.int64),
        grip_mps2=np.full(worlds, 0.8 * 9.81, np.float32),
        map_of_world=np.zeros(worlds, np.int32),
    )  # fmt: skip

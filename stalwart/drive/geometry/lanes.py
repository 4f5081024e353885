"""Lanes, how they hang together, and the map that they make."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError, nearest
from stalwart.drive.geometry.curves import CentreLine
from stalwart.drive.scene import Class


class Use(IntEnum):
    """Who a lane is for."""

    DRIVE = 0
    WALK = 1


class Control(IntEnum):
    """What rules at the start of a lane through a junction."""

    NONE = 0
    SIGNAL = 1
    STOP = 2
    YIELD = 3
    ALL_WAY_STOP = 4


class Turn(IntEnum):
    """Where a lane through a junction leads."""

    STRAIGHT = 0
    LEFT = 1
    RIGHT = 2


class Marking(IntEnum):
    """What is painted along a lane's edge."""

    NONE = 0
    DASHED = 1
    SOLID = 2
    DOUBLE_YELLOW = 3


@dataclass(frozen=True)
class Lane:
    """One lane: driven or walked from its line's start to its end."""

    line: CentreLine
    width_m: float
    limit_mps: float
    use: Use = Use.DRIVE
    left: int = -1
    """The lane beside it that leads the same way and may be changed to; -1: none. For a walking lane the one on the
    road's other side, which jaywalkers cross to."""
    right: int = -1
    left_marking: Marking = Marking.NONE
    right_marking: Marking = Marking.NONE
    successors: tuple[int, ...] = ()
    junction: int = -1
    """Which junction it leads through; -1: none."""
    control: Control = Control.NONE
    signal: int = -1
    """Which signal it obeys; -1: none."""
    turn: Turn = Turn.STRAIGHT
    entry: bool = False
    """Traffic may appear at its start."""
    shoulder_m: float = 0.0
    """Paved beyond its right edge, in metres; no lane of its own."""


@dataclass(frozen=True)
class Signal:
    """One signal head's plan: green from `start_s` for `green_s`, then yellow, then red, every `period_s`."""

    period_s: float
    start_s: float
    green_s: float
    yellow_s: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.green_s + self.yellow_s <= self.period_s:
            raise InputError(f"Signal: green and yellow must fit into the period of {self.period_s} s. Got {self!r}.")


@dataclass(frozen=True)
class Conflict:
    """A stretch of a lane through a junction that another one crosses or joins, in arc lengths of both."""

    lane: int
    other: int
    start_m: float
    end_m: float
    other_start_m: float
    other_end_m: float
    yields: bool
    """Whoever drives `lane` gives way to the other."""


@dataclass(frozen=True)
class Box:
    """Something that stands: a house, a parked car, a pole."""

    kind: Class
    x_m: float
    y_m: float
    yaw_rad: float
    length_m: float
    width_m: float
    height_m: float
    z0_m: float = 0.0
    signal: int = -1
    """Which signal it shows; -1: none."""


@dataclass(frozen=True)
class Area:
    """A polygon of ground, painted over the lanes' own."""

    kind: Class
    points: NDArray[np.float64]
    """(n, 2) metres."""


@dataclass(frozen=True)
class Stripe:
    """A line of paint that no lane's marking says, painted last."""

    kind: Class
    points: NDArray[np.float64]
    """(n, 2) metres, along its middle."""


@dataclass(frozen=True, eq=False)
class RoadMap:
    """A road network with what stands beside it.

    Raises:
        InputError: a lane that names one which is not there, or does not start where one leads into it.
    """

    name: str
    lanes: tuple[Lane, ...]
    signals: tuple[Signal, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    boxes: tuple[Box, ...] = ()
    areas: tuple[Area, ...] = ()
    stripes: tuple[Stripe, ...] = ()

    def __post_init__(self) -> None:
        for index, lane in enumerate(self.lanes):
            for name, other in [
                ("left", lane.left),
                ("right", lane.right),
                *(("successor", s) for s in lane.successors),
            ]:
                if not -1 <= other < len(self.lanes):
                    raise InputError(f"{self.name}: lane {index} names lane {other} as {name}, which is not there.")
            for successor in lane.successors:
                a, b = lane.line.end, self.lanes[successor].line.start
                gap = float(np.hypot(a.x_m - b.x_m, a.y_m - b.y_m))
                if gap > 0.05:
                    raise InputError(f"{self.name}: lane {index} leads to {successor}, which starts {gap:.2f} m away.")
            if not -1 <= lane.signal < len(self.signals):
                raise InputError(f"{self.name}: lane {index} obeys signal {lane.signal}, which is not there.")

    @cached_property
    def bounds_m(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of all lanes and boxes, with 20 m around them."""
        points = [lane.line.poses(np.linspace(0, lane.line.length_m, 24))[:, :2] for lane in self.lanes]
        points += [np.array([[box.x_m, box.y_m]]) for box in self.boxes]
        low, high = np.concatenate(points).min(0) - 20, np.concatenate(points).max(0) + 20
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def raster(self, metres_per_pixel: float = 0.25) -> tuple[NDArray[np.uint8], tuple[float, float]]:
        """The ground's classes (H, W) uint8, row 0 at the bottom, and the (x, y) in metres of the corner [0, 0].

        Classes are `scene.Class`: terrain, road, shoulder, sidewalk, plots, and the paint on them.
        """
        from stalwart.drive.geometry.raster import paint  # which paints maps, so it cannot stand above

        return paint(self, metres_per_pixel)

    def route(self, start: int, goal: int) -> tuple[int, ...]:
        """The lanes of the shortest way from one lane to another; changing lanes costs 20 m.

        Raises:
            InputError: no such lane, or no way.
        """
        for index in (start, goal):
            if not 0 <= index < len(self.lanes):
                raise InputError(f"{self.name} has lanes 0 to {len(self.lanes) - 1}. Got {index}.")
        best = {start: 0.0}
        before: dict[int, int] = {}
        queue = [(0.0, start)]
        while queue:
            cost, here = heapq.heappop(queue)
            if here == goal:
                way = [here]
                while here in before:
                    here = before[here]
                    way.append(here)
                return tuple(reversed(way))
            if cost > best[here]:
                continue
            lane = self.lanes[here]
            beside = [] if lane.use == Use.WALK else [n for n in (lane.left, lane.right) if n >= 0]
            for there, more in [(s, lane.line.length_m) for s in lane.successors] + [(n, 20.0) for n in beside]:
                if cost + more < best.get(there, np.inf):
                    best[there], before[there] = cost + more, here
                    heapq.heappush(queue, (cost + more, there))
        raise InputError(f"{self.name}: no way leads from lane {start} to lane {goal}.")

    def lanes_of(self, use: Use) -> list[int]:
        return [index for index, lane in enumerate(self.lanes) if lane.use == use]


def expect_choice(who: str, given: str, known: tuple[str, ...]) -> str:
    """`given` if it is one of `known`, else one line that names the nearest."""
    if given not in known:
        raise InputError(f"{who} must be one of {', '.join(known)}. Got {given!r}. {nearest(given, known)}")
    return given

"""Traffic lights, stop and yield signs: which lanes they rule, when they are green, where they stand."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.geometry.lanes import Box, Control, Signal, Use
from stalwart.drive.geometry.network import Draft
from stalwart.drive.opendrive.lanes import Cell, Cells
from stalwart.drive.opendrive.records import Network, RoadRecord, SignalRecord
from stalwart.drive.scene import Class

KINDS = {"1000001": Control.SIGNAL, "206": Control.STOP, "205": Control.YIELD}
"""By the standard's type: traffic lights, and the German numbers of stop and yield signs, which CARLA's towns use."""
_GREEN_S, _YELLOW_S, _ALL_RED_S = 14.0, 3.0, 2.0
_FAR_M = 60.0
"""A signal further from its road's end rules no junction."""


def place_signals(draft: Draft, cells: Cells, lane_of: dict[Cell, int], network: Network) -> None:
    """Set `control` and `signal` of the lanes through junctions, and put up heads and signs."""
    kinds = {s.name: s.kind for road in network.roads.values() for s in road.signals if s.kind}
    ruled: dict[int, tuple[Control, str]] = {}
    heads: list[tuple[RoadRecord, SignalRecord, Control, bool, set[int]]] = []
    for road in network.roads.values():
        for signal in road.signals:
            control = KINDS.get(kinds.get(signal.name, ""))
            if control is None:
                network.unread[f"signal of type {kinds.get(signal.name, '')[:20]!r}"] += 1
                continue
            for forward in (True, False):
                if signal.towards == ("-" if forward else "+"):
                    continue
                lanes = _ruled(draft, cells, lane_of, road, signal, forward)
                for lane in lanes:
                    ruled.setdefault(lane, (control, signal.name))
                if signal.kind and (lanes or signal.lanes):
                    heads.append((road, signal, control, forward, lanes))
    named: dict[str, set[int]] = {}
    for lane, (_, name) in ruled.items():
        named.setdefault(name, set()).add(lane)
    plans = _plans(draft, network, ruled)
    for lane, (control, name) in ruled.items():
        draft.change(lane, control=control, signal=plans.get((draft.lanes[lane].junction, name), -1))
    points = np.concatenate([
        lane.line.poses(np.arange(0.0, lane.line.length_m + 1.0, 1.0))[:, :2] for lane in draft.lanes
        if lane.use == Use.DRIVE
    ])  # fmt: skip
    for road, signal, control, forward, lanes in heads:
        # A light beyond the junction is of no lane of its own road: the junction's roads refer to it.
        of = lanes or (named.get(signal.name, set()) if signal.towards == ("+" if forward else "-") else set())
        if of:
            _put_up(draft, cells, road, signal, control, forward, draft.lanes[min(of)].signal, points)


def _ruled(
    draft: Draft, cells: Cells, lane_of: dict[Cell, int], road: RoadRecord, signal: SignalRecord, forward: bool
) -> set[int]:
    """The lanes through junctions that a signal beside a road rules: the road's own, or those that follow its end."""
    inside = road.junction != "-1"
    if not road.sections:
        return set()
    section = len(road.sections) - 1 if forward != inside else 0
    found = set()
    togo = road.length_m - signal.s_m if forward else signal.s_m
    if not inside and togo > _FAR_M:
        return set()
    for number in road.sections[section].lanes:
        cell = Cell(road.name, section, number, forward)
        if (number < 0) != forward or cell not in lane_of or cells.walked(cell):
            continue
        if signal.lanes and not any(min(span) <= number <= max(span) for span in signal.lanes):
            continue
        lane = lane_of[cell]
        found |= {lane} if inside else set(draft.links[lane])
    return {lane for lane in found if draft.lanes[lane].junction >= 0}


def _plans(draft: Draft, network: Network, ruled: dict[int, tuple[Control, str]]) -> dict[tuple[int, str], int]:
    """A plan for each junction's lights: those of one controller are green together, controllers in turn; without
    controllers those along one axis and those across."""
    lights: dict[int, dict[str, int]] = {}
    for lane, (control, name) in ruled.items():
        if control == Control.SIGNAL:
            lights.setdefault(draft.lanes[lane].junction, {}).setdefault(name, lane)
    names = list(network.junctions)
    plans = {}
    for junction, of_name in lights.items():
        order = list(network.junctions[names[junction]].controllers)
        phase_of: dict[str, object] = {}
        first = draft.lanes[min(of_name.values())].line.start.yaw_rad
        for name, lane in of_name.items():
            own = [c for c in order if name in network.controllers.get(c, ())]
            across = abs(math.sin(draft.lanes[lane].line.start.yaw_rad - first)) > math.sqrt(0.5)
            phase_of[name] = own[0] if own else across
        phases = sorted(set(phase_of.values()), key=str)
        each = _GREEN_S + _YELLOW_S + _ALL_RED_S
        period = each * max(len(phases), 2)
        begin = len(draft.signals)
        draft.signals += [Signal(period, k * each, _GREEN_S, _YELLOW_S) for k in range(len(phases))]
        for name, phase in phase_of.items():
            plans[junction, name] = begin + phases.index(phase)
    return plans


def _put_up(
    draft: Draft, cells: Cells, road: RoadRecord, signal: SignalRecord, control: Control, forward: bool, shown: int,
    points: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:  # fmt: skip
    x, y, yaw, _ = map(float, cells.lines[road.name].at(signal.s_m)[0])
    x, y = x - signal.t_m * math.sin(yaw), y + signal.t_m * math.cos(yaw)
    faces = yaw + (math.pi if forward else 0.0)
    clear = float(np.hypot(points[:, 0] - x, points[:, 1] - y).min()) > 2.2
    if control == Control.SIGNAL:
        height = 2.6 if clear else 5.0  # over the road it hangs
        if clear:
            draft.boxes.append(Box(Class.POLE, x, y, faces, 0.16, 0.16, height))
        draft.boxes.append(Box(Class.SIGNAL, x, y, faces, 0.35, 0.4, 1.1, height, signal=shown))
    elif clear:
        draft.boxes.append(Box(Class.POLE, x, y, faces, 0.1, 0.1, 2.1))
        draft.boxes.append(Box(Class.SIGN, x, y, faces, 0.06, 0.75, 0.75, 2.0))

"""From linked cells to a road map: lanes fitted by clothoids, their links, the paint, and what rules at junctions."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from stalwart.core.errors import DataError, InputError
from stalwart.drive.geometry.curves import CentreLine, Pose, fit, wrap
from stalwart.drive.geometry.lanes import Area, Lane, RoadMap, Turn, Use
from stalwart.drive.geometry.network import Draft
from stalwart.drive.geometry.tables import MOST_LINKS
from stalwart.drive.opendrive.lanes import Cell, Cells, apart, smooth, strands
from stalwart.drive.opendrive.paint import ground, stripes
from stalwart.drive.opendrive.records import Doubles, Network, read
from stalwart.drive.opendrive.signals import place_signals
from stalwart.drive.scene import Class

_SNAP_M, _SNAP_RAD = 1.0, 0.35
"""Ends of linked lanes further apart than this are no link; nearer ones are brought together."""


def load(path: str) -> RoadMap:
    """The map of an OpenDRIVE file. What the file holds and is not read is said in one warning.

    Raises:
        DataError: one line that names the file and the element.
    """
    network = read(path)
    cells = Cells(network)
    network.unread["link that leads nowhere"] += cells.bad_links
    chains = strands(cells)
    flat = [chain for group in chains for chain in group]
    if not any(not cells.walked(chain[0]) for chain in flat):
        raise DataError(f"{path}: expected lanes of type 'driving'. Got none.")
    courses = [smooth([cells.course(cell) for cell in chain]) for chain in flat]
    courses = [course if len(course[0]) > 1 else _stretched(course) for course in courses]
    links = _links(cells, flat, courses, network)
    draft = Draft()
    numbers = {name: k for k, name in enumerate(network.junctions)}
    draft.junctions = len(numbers)
    for k, chain in enumerate(flat):
        draft.add(_lane(cells, chain, *courses[k], numbers, f"{path}: road {chain[0].road!r}"))
    at = 0
    for group in chains:
        for k, chain in enumerate(group):
            changes = {
                "left": at + k - 1 if k and cells.may_change(chain[0], True) else -1,
                "right": at + k + 1 if k + 1 < len(group) and cells.may_change(chain[0], False) else -1,
            }
            draft.change(at + k, **changes)
        at += len(group)
    for a, others in links.items():
        for b in others:
            draft.link(a, b)
    lane_of = {cell: k for k, chain in enumerate(flat) for cell in chain}
    place_signals(draft, cells, lane_of, network)
    for lane, (poses, widths) in zip(draft.lanes, courses, strict=True):
        if lane.use == Use.DRIVE and np.ptp(widths) > 0.2:
            draft.areas.append(Area(Class.ROAD, _outline(poses, widths)))
    draft.areas += ground(cells)
    draft.stripes += stripes(cells)
    _say(network)
    return draft.finish(f"opendrive({Path(path).name!r})")


def _stretched(course: tuple[Doubles, Doubles]) -> tuple[Doubles, Doubles]:
    """A lane shorter than 5 cm, made as long: kernels divide by lengths."""
    (pose,), width = course
    ahead = pose + np.array([0.05 * math.cos(pose[2]), 0.05 * math.sin(pose[2]), 0.0])
    return np.stack([pose, ahead]), np.repeat(width, 2)


def _links(
    cells: Cells, flat: list[list[Cell]], courses: list[tuple[Doubles, Doubles]], network: Network
) -> dict[int, list[int]]:
    """What leads to what, with ends that are near brought together in place; others are left out."""
    first = {chain[0]: k for k, chain in enumerate(flat)}
    wanted = [(k, first[cell]) for k, chain in enumerate(flat) for cell in cells.after[chain[-1]] if cell in first]
    into = Counter(b for _, b in wanted)
    inside = [network.roads[chain[0].road].junction != "-1" for chain in flat]
    near = []
    for a, b in wanted:
        metres, angle = apart(courses[a][0][-1], courses[b][0][0])
        if metres > _SNAP_M or (angle > _SNAP_RAD and not cells.walked(flat[a][0])):
            network.unread["link between ends that lie apart"] += 1
            continue
        near.append((a, b))
        end, start = courses[a][0][-1], courses[b][0][0]
        if (inside[b] and not inside[a]) or (inside[a] == inside[b] and into[b] == 1):
            start[:] = end  # who goes through a junction begins where its approach ends
        else:
            end[:] = start
    out: dict[int, list[int]] = {}
    back: Counter[int] = Counter()
    for a, b in near:
        if apart(courses[a][0][-1], courses[b][0][0])[0] > 0.05:
            network.unread["link between ends that lie apart"] += 1
        elif len(out.get(a, [])) == MOST_LINKS or back[b] == MOST_LINKS:
            network.unread[f"link beyond the {MOST_LINKS} of a lane"] += 1
        else:
            out.setdefault(a, []).append(b)
            back[b] += 1
    return out


def _lane(
    cells: Cells, chain: list[Cell], poses: Doubles, widths: Doubles, numbers: dict[str, int], where: str
) -> Lane:
    line = _fitted(poses, where)
    junction = cells.network.roads[chain[0].road].junction
    bend = wrap(line.end.yaw_rad - line.start.yaw_rad)
    turn = Turn.STRAIGHT if abs(bend) < math.pi / 4 else Turn.LEFT if bend > 0 else Turn.RIGHT
    walks = cells.walked(chain[0])
    lane = Lane(line, max(float(np.median(widths)) * (0.5 if walks else 1.0), 0.3), cells.limit(chain[0]))
    if walks:
        return replace(lane, use=Use.WALK)
    return replace(lane, junction=numbers.get(junction, -1), turn=turn if junction != "-1" else Turn.STRAIGHT)


def _fitted(poses: Doubles, where: str) -> CentreLine:
    places = [Pose(*map(float, pose)) for pose in poses]
    pieces = []
    for a, b in itertools.pairwise(places):
        try:
            pieces.append(fit(a, b))
        except InputError:
            raise DataError(f"{where}: expected a lane that can be driven. Got one that turns on the spot near "
                            f"({a.x_m:.1f}, {a.y_m:.1f}).") from None  # fmt: skip
    return CentreLine(places[0], tuple(pieces))


def _outline(poses: Doubles, widths: Doubles) -> Doubles:
    normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], 1) * widths[:, None] / 2
    return np.concatenate([poses[:, :2] + normal, (poses[:, :2] - normal)[::-1]])


def _say(network: Network) -> None:
    found = [f"{name} ({count})" for name, count in sorted(network.unread.items()) if count]
    if found:
        warnings.warn(f"{network.path}: read without {', '.join(found)}.", stacklevel=4)

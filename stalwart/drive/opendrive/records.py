"""What is read of an OpenDRIVE file: plain records in metres, metres per second and radians, each value checked.

ASAM OpenDRIVE 1.4 to 1.8; names of elements and attributes are the standard's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import DataError
from stalwart.feed.structured import Node, number, read_xml, shown

Doubles = NDArray[np.float64]

MOST_ROAD_M, MOST_M, MOST_ROADS, MOST_PARTS = 1e5, 1e6, 20_000, 200_000
"""The longest road, all roads together, the most roads, and the most geometries and lanes of a file."""
_MPS = {"km/h": 1 / 3.6, "mph": 0.44704, "m/s": 1.0, "": 1.0}


@dataclass(frozen=True)
class Cubic:
    """a + b Δs + c Δs² + d Δs³ from `start_m` on."""

    start_m: float
    a: float
    b: float
    c: float
    d: float


def value_and_slope(cubics: tuple[Cubic, ...], s_m: Doubles) -> tuple[Doubles, Doubles]:
    """A piecewise cubic and its derivative at (n,) places; 0 before the first piece."""
    value, slope = np.zeros_like(s_m), np.zeros_like(s_m)
    for one in cubics:
        at = s_m >= one.start_m - 1e-9
        u = s_m[at] - one.start_m
        value[at] = one.a + u * (one.b + u * (one.c + u * one.d))
        slope[at] = one.b + u * (2 * one.c + u * 3 * one.d)
    return value, slope


@dataclass(frozen=True)
class Geometry:
    """One piece of a reference line: `kind` is line, arc, spiral, poly3 or paramPoly3."""

    where: str
    kind: str
    start_m: float
    length_m: float
    x_m: float
    y_m: float
    yaw_rad: float
    values: tuple[float, ...]
    """Curvatures of arc and spiral; (0, 1, 0, 0, a, b, c, d) of poly3; aU to dU, aV to dV of paramPoly3."""
    normalized: bool = False
    """The parameter of a paramPoly3 runs from 0 to 1, and not to the length."""


@dataclass(frozen=True)
class Mark:
    """A road mark along a lane's outer border, from `start_m` of its section on."""

    start_m: float
    kind: str
    yellow: bool
    change: str
    """'increase', 'decrease', 'both' or 'none': lanes may be changed over it towards larger or smaller numbers."""


@dataclass(frozen=True)
class LaneRecord:
    number: int
    kind: str
    before: int | None
    """The lane that it continues, in the section or road before; None: none."""
    after: int | None
    widths: tuple[Cubic, ...]
    """From the section's start on."""
    marks: tuple[Mark, ...]
    limit_mps: float | None


@dataclass(frozen=True)
class Section:
    start_m: float
    end_m: float
    lanes: dict[int, LaneRecord]


@dataclass(frozen=True)
class Link:
    """What a road leads to: another road's start or end, or a junction."""

    junction: bool
    name: str
    at_start: bool


@dataclass(frozen=True)
class SignalRecord:
    """A signal, or a reference to one."""

    name: str
    kind: str
    """The standard's `type`; '' for a reference."""
    s_m: float
    t_m: float
    z_m: float
    towards: str
    """'+': for traffic along the road, '-': against it, 'none': both."""
    lanes: tuple[tuple[int, int], ...]
    """Ranges of lanes that it is valid for; none: all."""


@dataclass(frozen=True)
class RoadRecord:
    name: str
    length_m: float
    junction: str
    """'-1': none."""
    before: Link | None
    after: Link | None
    line: tuple[Geometry, ...]
    offset: tuple[Cubic, ...]
    sections: tuple[Section, ...]
    limits: tuple[tuple[float, float], ...]
    """(from where on, m/s)."""
    signals: tuple[SignalRecord, ...]


@dataclass(frozen=True)
class Connection:
    incoming: str
    connecting: str
    at_start: bool
    lanes: tuple[tuple[int, int], ...]
    direct: bool = False
    """Whether the roads touch, lanes of both ways linked, with no connecting road between them."""


@dataclass(frozen=True)
class JunctionRecord:
    name: str
    connections: tuple[Connection, ...]
    controllers: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """A whole file."""

    path: str
    roads: dict[str, RoadRecord]
    junctions: dict[str, JunctionRecord]
    controllers: dict[str, tuple[str, ...]]
    """The signals of each."""
    unread: Counter[str]
    """What the file holds and this reader leaves out."""


def read(path: str) -> Network:
    """Read a file.

    Raises:
        DataError: one line that names the file, the element, what was expected and what came.
    """
    root = read_xml(path)
    if root.name != "OpenDRIVE":
        raise DataError(f"{path}: expected an element 'OpenDRIVE'. Got {shown(root.name)}.")
    unread: Counter[str] = Counter()
    roads: dict[str, RoadRecord] = {}
    parts, length = 0, 0.0
    for node in root.all("road"):
        road = _road(node, path, unread)
        if road.name in roads:
            raise DataError(f"{path}: expected each road's id once. Got {shown(road.name)} twice.")
        roads[road.name] = road
        parts += len(road.line) + sum(len(section.lanes) for section in road.sections)
        length += road.length_m
        if len(roads) > MOST_ROADS or parts > MOST_PARTS or length > MOST_M:
            raise DataError(f"{path}: expected at most {MOST_ROADS:,} roads, {MOST_PARTS:,} geometries and lanes, and "
                            f"{MOST_M:,.0f} m. Got more: {len(roads):,}, {parts:,}, {length:,.0f} m.")  # fmt: skip
    if not roads:
        raise DataError(f"{path}: expected elements 'road'. Got none.")
    junctions = [_junction(node, path, unread) for node in root.all("junction")]
    controllers = {
        node.attributes.get("id", ""): tuple(c.attributes.get("signalId", "") for c in node.all("control"))
        for node in root.all("controller")
    }
    return Network(path, roads, {j.name: j for j in junctions}, controllers, unread)


# ---------------------------------------------------------------- elements


def _text(node: Node, key: str, where: str) -> str:
    if key not in node.attributes:
        raise DataError(f"{where}: expected attribute {key!r} of '{node.name}'. Got none.")
    return node.attributes[key]


def _number(node: Node, key: str, where: str, default: float | None = None) -> float:
    if default is not None and node.attributes.get(key, "") == "":
        return default
    return number(_text(node, key, where), key, f"{where}: {node.name}")


def _whole(node: Node, key: str, where: str) -> int:
    value = _number(node, key, where)
    if value != int(value) or abs(value) > 1000:
        raise DataError(
            f"{where}: {node.name}: expected {key!r} as a lane's number. Got {shown(node.attributes[key])}."
        )
    return int(value)


def _cubics(nodes: list[Node], start: str, where: str) -> tuple[Cubic, ...]:
    found = [Cubic(*(_number(node, key, where, 0.0) for key in (start, "a", "b", "c", "d"))) for node in nodes]
    return tuple(sorted(found, key=lambda one: one.start_m))


def _children(node: Node, *path: str) -> list[Node]:
    found = [node]
    for name in path:
        found = [child for one in found for child in one.all(name)]
    return found


def _road(node: Node, path: str, unread: Counter[str]) -> RoadRecord:
    name = _text(node, "id", path)
    where = f"{path}: road {shown(name)}"
    if node.attributes.get("rule", "RHT") != "RHT":
        raise DataError(f"{where}: expected traffic on the right (rule 'RHT'). Got {shown(node.attributes['rule'])}.")
    line = tuple(
        _geometry(one, f"{where}: geometry {k + 1}") for k, one in enumerate(_children(node, "planView", "geometry"))
    )
    line = tuple(one for one in line if one.length_m > 1e-6)
    if not line:
        raise DataError(f"{where}: expected 'geometry' of some length in 'planView'. Got none.")
    length = line[-1].start_m + line[-1].length_m
    if not length < MOST_ROAD_M or any(one.start_m < 0 for one in line):
        raise DataError(f"{where}: expected a length from 0 to {MOST_ROAD_M:,.0f} m. Got {length:g}.")
    for key, children in (
        ("elevation", _children(node, "elevationProfile", "elevation")),
        ("superelevation", _children(node, "lateralProfile", "superelevation")),
        ("lateral shape", _children(node, "lateralProfile", "shape")),
    ):
        if any(_number(one, k, where, 0.0) for one in children for k in ("a", "b", "c", "d")):
            unread[key] += 1
    for kind in ("object", "objectReference", "tunnel", "bridge"):
        unread[kind] += len(_children(node, "objects", kind))
    unread["railroad"] += len(_children(node, "railroad"))
    limits = []
    for one in node.all("type"):
        speed = one.first("speed")
        limit = None if speed is None else _speed(speed, where)
        if limit is not None:
            limits.append((_number(one, "s", where, 0.0), limit))
    links = {one.name: _link(one, where) for one in _children(node, "link", "predecessor")}
    links |= {one.name: _link(one, where) for one in _children(node, "link", "successor")}
    return RoadRecord(
        name, length, node.attributes.get("junction", "-1"), links.get("predecessor"), links.get("successor"), line,
        _cubics(_children(node, "lanes", "laneOffset"), "s", where), _sections(node, where, length, unread),
        tuple(sorted(limits)), tuple(_signals(node, where)),
    )  # fmt: skip


def _geometry(node: Node, where: str) -> Geometry:
    kinds = [child for child in node.children if child.name in _VALUES]
    if len(kinds) != 1:
        raise DataError(f"{where}: expected one of {', '.join(_VALUES)}. Got {[c.name for c in node.children][:4]}.")
    shape = kinds[0]
    given = tuple(_number(shape, key, where) for key in _VALUES[shape.name])
    start, length, x, y, yaw = (_number(node, key, where) for key in ("s", "length", "x", "y", "hdg"))
    values = (0.0, 1.0, 0.0, 0.0, *given) if shape.name == "poly3" else given
    normalized = shape.name == "paramPoly3" and shape.attributes.get("pRange", "normalized") != "arcLength"
    return Geometry(where, shape.name, start, length, x, y, yaw, values, normalized)


_VALUES = {
    "line": (), "arc": ("curvature",), "spiral": ("curvStart", "curvEnd"), "poly3": ("a", "b", "c", "d"),
    "paramPoly3": ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV"),
}  # fmt: skip


def _link(node: Node, where: str) -> Link | None:
    name, kind = node.attributes.get("elementId"), node.attributes.get("elementType", "road")
    if name is None or kind not in ("road", "junction"):
        raise DataError(f"{where}: expected 'elementType' road or junction and 'elementId' of '{node.name}'. "
                        f"Got {shown(node.attributes)}.")  # fmt: skip
    return Link(kind == "junction", name, node.attributes.get("contactPoint", "start") == "start")


def _speed(node: Node, where: str) -> float | None:
    """m/s; None where there is no limit or none is known."""
    if node.attributes.get("max", "") in ("", "no limit", "undefined"):
        return None
    unit = node.attributes.get("unit", "m/s")
    if unit not in _MPS:
        raise DataError(f"{where}: expected a speed's unit among m/s, km/h, mph. Got {shown(unit)}.")
    speed = _number(node, "max", where) * _MPS[unit]
    return speed if 0.5 < speed < 150 else None


def _sections(road: Node, where: str, length_m: float, unread: Counter[str]) -> tuple[Section, ...]:
    nodes = _children(road, "lanes", "laneSection")
    starts = [min(max(_number(node, "s", where), 0.0), length_m) for node in nodes]
    if not nodes or starts != sorted(starts):
        raise DataError(f"{where}: expected 'laneSection' elements in the order of their 's'. Got {shown(starts)}.")
    sections = []
    for k, (node, start, end) in enumerate(zip(nodes, starts, [*starts[1:], length_m], strict=True)):
        if end - start < 1e-3:
            continue
        here = f"{where}: laneSection {k + 1}"
        lanes: dict[int, LaneRecord] = {}
        for one in (lane for side in ("left", "center", "right") for lane in _children(node, side, "lane")):
            lane = _lane(one, here, unread)
            if lane.number in lanes:
                raise DataError(f"{here}: expected each lane's id once. Got {lane.number} twice.")
            lanes[lane.number] = lane
        sections.append(Section(start, end, lanes))
    return tuple(sections)


def _lane(node: Node, where: str, unread: Counter[str]) -> LaneRecord:
    number_, kind = _whole(node, "id", where), node.attributes.get("type", "none")
    here = f"{where}: lane {number_}"
    unread["lane border"] += len(node.all("border"))
    ends: dict[str, int | None] = {"predecessor": None, "successor": None}
    for name in ends:
        found = _children(node, "link", name)
        ends[name] = _whole(found[0], "id", here) if found else None
    marks = []
    for one in node.all("roadMark"):
        colour, change = one.attributes.get("color", "standard"), one.attributes.get("laneChange", "")
        kind_ = one.attributes.get("type", "none")
        if change not in ("increase", "decrease", "both", "none"):
            change = "none" if kind_.startswith("solid") or kind_ == "curb" else "both"
        marks.append(Mark(_number(one, "sOffset", here, 0.0), kind_, colour == "yellow", change))
    speed = node.first("speed")
    return LaneRecord(
        number_, kind, ends["predecessor"], ends["successor"], _cubics(node.all("width"), "sOffset", here),
        tuple(sorted(marks, key=lambda one: one.start_m)), None if speed is None else _speed(speed, here),
    )  # fmt: skip


def _signals(road: Node, where: str) -> list[SignalRecord]:
    found = []
    for node in (*_children(road, "signals", "signal"), *_children(road, "signals", "signalReference")):
        spans = tuple((_whole(v, "fromLane", where), _whole(v, "toLane", where)) for v in node.all("validity"))
        towards = node.attributes.get("orientation", "none")
        found.append(SignalRecord(
            _text(node, "id", where), node.attributes.get("type", "") if node.name == "signal" else "",
            _number(node, "s", where), _number(node, "t", where), _number(node, "zOffset", where, 0.0),
            towards if towards in ("+", "-") else "none", spans,
        ))  # fmt: skip
    return found


def _junction(node: Node, path: str, unread: Counter[str]) -> JunctionRecord:
    name = _text(node, "id", path)
    where = f"{path}: junction {shown(name)}"
    connections = []
    for one in node.all("connection"):
        direct = node.attributes.get("type") == "direct"
        other = "linkedRoad" if direct else "connectingRoad"
        if other not in one.attributes or "incomingRoad" not in one.attributes:  # virtual junctions name other elements
            unread["connection of a virtual junction"] += 1
            continue
        pairs = tuple((_whole(pair, "from", where), _whole(pair, "to", where)) for pair in one.all("laneLink"))
        connections.append(Connection(
            _text(one, "incomingRoad", where), _text(one, other, where),
            one.attributes.get("contactPoint", "start") == "start", pairs, direct,
        ))  # fmt: skip
    return JunctionRecord(name, tuple(connections), tuple(c.attributes.get("id", "") for c in node.all("controller")))

"""OpenDRIVE files of another project's writer, `scenariogeneration`, against the geometry that it says itself."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stalwart.core import catalog
from stalwart.drive.geometry.curves import CentreLine, wrap
from stalwart.drive.geometry.lanes import RoadMap

xodr = pytest.importorskip("scenariogeneration.xodr", reason="needs scenariogeneration, of the extra 'test'")
JUNCTION = xodr.ElementType.junction
WIDTH_M = 3.0


def document(*roads: Any, junction: Any = None) -> Any:
    out = xodr.OpenDrive("roads")
    for road in roads:
        out.add_road(road)
    if junction is not None:
        out.add_junction_creator(junction)
    out.adjust_roads_and_lanes()
    return out


def read(folder: Path, written: Any) -> RoadMap:
    path = str(folder / "map.xodr")
    written.write_xml(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roads: RoadMap = catalog.make(f"opendrive({path!r})", "roads").build()
    return roads


def ends(road: Any, lane: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the middle of a lane 3 m wide begins and ends as it is driven, by the writer's own reference line."""
    places = []
    for x, y, yaw in (road.planview.get_start_point(), road.planview.get_end_point()):
        away = math.copysign((abs(lane) - 0.5) * WIDTH_M, lane)
        places.append((x - away * math.sin(yaw), y + away * math.cos(yaw)))
    return (places[0], places[1]) if lane < 0 else (places[1], places[0])


def at(line: CentreLine, start: tuple[float, float], end: tuple[float, float]) -> bool:
    return (
        math.dist((line.start.x_m, line.start.y_m), start) < 0.02
        and math.dist((line.end.x_m, line.end.y_m), end) < 0.02
    )


def test_lines_arcs_and_spirals_are_as_long_beside_the_road_as_their_turn_says(tmp_path: Path) -> None:
    road = xodr.create_road(
        [xodr.Line(100), xodr.Spiral(0.0, 0.02, 40), xodr.Arc(0.02, length=60), xodr.Spiral(0.02, 0.0, 40)],
        id=0, left_lanes=2, right_lanes=2,
    )  # fmt: skip
    roads = read(tmp_path, document(road))
    turn = 40 * 0.01 + 60 * 0.02 + 40 * 0.01
    assert len(roads.lanes) == 4
    for lane in (-2, -1, 1, 2):
        (line,) = (one.line for one in roads.lanes if at(one.line, *ends(road, lane)))
        away = math.copysign((abs(lane) - 0.5) * WIDTH_M, lane)
        assert line.length_m == pytest.approx(240 - away * turn, abs=5e-3)


@pytest.mark.parametrize(("arms", "lanes"), [(4, 1), (3, 2)])
def test_every_connection_of_a_junction_is_a_lane_through_it(tmp_path: Path, arms: int, lanes: int) -> None:
    roads = [xodr.create_road(xodr.Line(80), k, lanes, lanes) for k in range(arms)]
    junction = xodr.CommonJunctionCreator(id=100, name="junction", startnum=200)
    for k, road in enumerate(roads):
        junction.add_incoming_road_circular_geometry(
            road, 30, k * 2 * math.pi / arms, "predecessor" if k else "successor"
        )
    for k in range(arms):
        for other in range(k + 1, arms):
            junction.add_connection(k, other)
    written = document(*roads, junction=junction)
    found = read(tmp_path, written)
    connecting = [road for road in written.roads.values() if road.road_type == 100]
    inside = [one for one in found.lanes if one.junction == 0]
    expected = 0
    for road in connecting:
        (section,) = road.lanes.lanesections
        for lane in [one.lane_id for one in (*section.leftlanes, *section.rightlanes)]:
            expected += 1
            assert sum(at(one.line, *ends(road, lane)) for one in inside) == 1
    assert len(inside) == expected
    assert all(len(one.successors) == 1 for one in inside)
    arriving = [one for one in found.lanes if one.junction < 0 and one.successors]
    assert len(arriving) == arms * lanes
    for one in arriving:  # each lane comes into lanes that begin where it ends, one for each of the other arms
        assert len(one.successors) == arms - 1
        for k in one.successors:
            a, b = one.line.end, found.lanes[k].line.start
            assert math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) < 1e-6
            assert abs(wrap(a.yaw_rad - b.yaw_rad)) < 1e-6


def test_a_lane_that_opens_widens_as_it_is_written(tmp_path: Path) -> None:
    road = xodr.create_road(xodr.Line(100), 0, 1, [xodr.LaneDef(10, 50, 1, 2, -2)])
    found = read(tmp_path, document(road))
    (opening,) = (one for one in found.lanes if one.left >= 0)
    s = np.linspace(0, 40, 9)
    # The writer's width runs from 0 to 3 m with no slope at either end: 3 (3 x² - 2 x³) over the 40 m.
    x = s / 40
    middle = -WIDTH_M - WIDTH_M * (3 * x**2 - 2 * x**3) / 2
    for px, py in zip(10 + s, middle, strict=True):
        _, d = opening.line.project(float(px), float(py))
        assert abs(d) < 0.02


def test_a_direct_junction_leads_on_and_off(tmp_path: Path) -> None:
    main, onward = xodr.create_road(xodr.Line(100), 1, 2, 3), xodr.create_road(xodr.Line(90), 2, 2, 2)
    leaving = xodr.create_road(xodr.Line(50), 3, 0, 1)
    main.add_successor(JUNCTION, 100)
    onward.add_predecessor(JUNCTION, 100)
    leaving.add_predecessor(JUNCTION, 100)
    junction = xodr.DirectJunctionCreator(100, "exit")
    junction.add_connection(main, onward)
    junction.add_connection(main, leaving, [-3], [-1])
    found = read(tmp_path, document(main, onward, leaving, junction=junction))
    lengths = sorted(
        round(one.line.length_m + sum(found.lanes[k].line.length_m for k in one.successors), 2) for one in found.lanes
    )
    # Two lanes back and two on run through, perhaps in two pieces; the third leaves.
    assert {150.0, 190.0} <= set(lengths)
    (off,) = (one for one in found.lanes if round(one.line.length_m, 2) == 100.0 and one.successors and
              round(found.lanes[one.successors[0]].line.length_m, 2) == 50.0)  # fmt: skip
    assert off.line.end.y_m == pytest.approx(-2.5 * WIDTH_M)

"""Every family of roads, over seeds: lanes hang together, neighbours are neighbours, conflicts are where lanes meet."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest

from stalwart.core import catalog
from stalwart.core.errors import InputError, SpellingError
from stalwart.drive.geometry.curves import CentreLine, Pose, line, wrap
from stalwart.drive.geometry.lanes import Box, Control, Lane, RoadMap, Turn, Use
from stalwart.drive.geometry.tables import ENDS, LEADING, PARTED, STOPS, tables_of
from stalwart.drive.scene import Class

MAPS = [
    "town(seed=1, blocks=2)", "crossroads()", "crossroads(seed=5, arms=3, control='stop')",
    "crossroads(seed=2, control='all_way_stop', lanes=2)", "roundabout(seed=3)",
    "rural(seed=1)", "motorway()",
]  # fmt: skip
PAVED = (Class.ROAD, Class.LINE, Class.YELLOW_LINE, Class.STOP_LINE, Class.CROSSING, Class.ARROW)


@cache
def built(spelled: str) -> RoadMap:
    roads: RoadMap = catalog.make(spelled, "roads").build()
    return roads


@cache
def ground(spelled: str) -> tuple[np.ndarray, float, float]:
    raster, (left, bottom) = built(spelled).raster(0.25)
    return raster, left, bottom


def classes(spelled: str, points: np.ndarray) -> np.ndarray:
    raster, left, bottom = ground(spelled)
    at = np.floor((points - (left, bottom)) / 0.25).astype(int)
    return raster[at[:, 1], at[:, 0]]


def test_every_family_is_here() -> None:
    assert {spelled.split("(")[0] for spelled in MAPS} == set(catalog.names("roads")) - {"opendrive"}


@pytest.mark.parametrize("spelled", MAPS)
def test_lanes_follow_each_other_without_a_kink(spelled: str) -> None:
    lanes = built(spelled).lanes
    assert any(lane.successors for lane in lanes) or "rural" in spelled
    for lane in lanes:
        for successor in lane.successors:
            after = lanes[successor]
            assert after.use == lane.use
            if lane.use == Use.DRIVE:
                assert abs(wrap(after.line.start.yaw_rad - lane.line.end.yaw_rad)) < 1e-6


@pytest.mark.parametrize("spelled", MAPS)
def test_neighbours_lie_beside_each_other(spelled: str) -> None:
    lanes = built(spelled).lanes
    for index, lane in enumerate(lanes):
        if lane.use == Use.WALK:
            continue
        for beside, sign in ((lane.left, 1), (lane.right, -1)):
            if beside >= 0:
                other = lanes[beside]
                assert (other.right if sign > 0 else other.left) == index
                middle = other.line.pose(other.line.length_m / 2)
                _, across = lane.line.project(middle.x_m, middle.y_m)
                assert across == pytest.approx(sign * (lane.width_m + other.width_m) / 2, abs=0.01)


@pytest.mark.parametrize("spelled", MAPS)
def test_conflicts_are_where_lanes_come_near_and_one_gives_way(spelled: str) -> None:
    roads = built(spelled)
    pairs = {(c.lane, c.other): c for c in roads.conflicts}
    assert len(pairs) == len(roads.conflicts)
    for (a, b), conflict in pairs.items():
        twin = pairs[b, a]
        assert (conflict.start_m, conflict.end_m) == (twin.other_start_m, twin.other_end_m)
        assert conflict.yields or twin.yields
        if conflict.yields == twin.yields:
            assert roads.lanes[a].control == roads.lanes[b].control == Control.ALL_WAY_STOP
    # Brute force: two lanes through one junction that touch are a conflict, or part from one lane.
    through = [i for i, lane in enumerate(roads.lanes) if lane.junction >= 0 and lane.use == Use.DRIVE][:60]
    parting = {(a, b) for lane in roads.lanes for a in lane.successors for b in lane.successors}
    for a in through:
        for b in through:
            if a >= b or roads.lanes[a].junction != roads.lanes[b].junction:
                continue
            pa, pb = (
                roads.lanes[k].line.poses(np.linspace(0, roads.lanes[k].line.length_m, 60))[:, :2] for k in (a, b)
            )
            least = float(np.hypot(*(pa[:, None] - pb[None]).transpose(2, 0, 1)).min())
            part = (a, b) in parting
            follow = b in roads.lanes[a].successors or a in roads.lanes[b].successors
            if least < 2.5 and not part and not follow:
                assert (a, b) in pairs


def test_a_lane_whose_way_may_change_beside_one_that_ends_knows_of_the_junction_behind() -> None:
    """Where a route leads from lane 0 over lane 2, beside lane 1 that ends, into lane 3."""
    ways = [CentreLine(Pose(x, y, 0), (line(50),)) for x, y in ((0, 0), (50, 0), (50, 3.5), (100, 3.5), (-50, 0))]
    lanes = (
        Lane(ways[0], 3.5, 12.0, successors=(1,)), Lane(ways[1], 3.5, 12.0, left=2),
        Lane(ways[2], 3.5, 12.0, right=1, successors=(3,)), Lane(ways[3], 3.5, 12.0, junction=0),
        Lane(ways[4], 3.5, 12.0, successors=(0,)),
    )  # fmt: skip
    tables, _ = tables_of([RoadMap("drop", lanes)])
    assert tables.lane_n[:, ENDS].tolist() == [0, 1, 0, 0, 0]
    assert tables.lane_n[:, STOPS].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("spelled", [name for name in MAPS if name.startswith(("crossroads", "town"))])
def test_it_is_known_how_far_lanes_from_one_stay_near_each_other(spelled: str) -> None:
    lanes = built(spelled).lanes
    tables, _ = tables_of([built(spelled)])
    pairs = 0
    for parent, lane in enumerate(lanes):
        for a in lane.successors:
            if tables.lane_n[a, LEADING] != parent:
                continue
            mine = lanes[a].line.poses(np.linspace(0, lanes[a].line.length_m, 300))[:, :2]
            for column, b in enumerate(lane.successors):
                length, upto = lanes[b].line.length_m, float(tables.lane_f[a, PARTED + column])
                if a == b:
                    assert upto == 0
                    continue
                pairs += 1
                s = np.linspace(0, length, 300)
                away = np.hypot(*(lanes[b].line.poses(s)[:, None, :2] - mine).transpose(2, 0, 1)).min(1)
                assert (away[s > upto + 0.3] > 2.4).all()
                assert np.interp(upto, s, away) < 2.6
    assert pairs >= 8


@pytest.mark.parametrize("spelled", MAPS)
def test_lanes_are_paved_and_nothing_stands_on_them(spelled: str) -> None:
    roads = built(spelled)
    for lane in roads.lanes:
        poses = lane.line.poses(np.linspace(0.5, lane.line.length_m - 0.5, 50))
        if lane.use == Use.DRIVE:
            assert np.isin(classes(spelled, poses[:, :2]), PAVED).all()
    drive = [lane for lane in roads.lanes if lane.use == Use.DRIVE]
    points = np.concatenate([lane.line.poses(np.arange(0, lane.line.length_m, 1.0))[:, :2] for lane in drive])
    for box in roads.boxes:
        if box.z0_m > 2.5:
            continue
        c, s = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
        dx, dy = points[:, 0] - box.x_m, points[:, 1] - box.y_m
        along, across = np.abs(c * dx + s * dy), np.abs(c * dy - s * dx)
        inside = (along < box.length_m / 2 + 1.0) & (across < box.width_m / 2 + 1.0)
        assert not inside.any(), box


def test_streets_can_be_driven_from_anywhere_to_anywhere_in_town() -> None:
    roads = built("town(seed=1, blocks=2)")
    drive = roads.lanes_of(Use.DRIVE)
    for start, goal in [(drive[0], drive[7]), (drive[5], drive[1]), (drive[9], drive[2])]:
        way = roads.route(start, goal)
        assert way[0] == start
        assert way[-1] == goal
        for a, b in itertools.pairwise(way):
            lane = roads.lanes[a]
            assert b in (*lane.successors, lane.left, lane.right)
    with pytest.raises(InputError, match="has lanes 0 to"):
        roads.route(0, 100000)


def test_no_route_where_none_is() -> None:
    with pytest.raises(InputError, match="no way leads"):
        built("rural(seed=1)").route(0, 1)


def test_left_turns_give_way_to_oncoming_traffic_and_minor_roads_to_major_ones() -> None:
    roads = built("crossroads()")
    lefts = [
        c for c in roads.conflicts
        if roads.lanes[c.lane].turn == Turn.LEFT and roads.lanes[c.other].turn == Turn.STRAIGHT
        and roads.lanes[c.lane].use == roads.lanes[c.other].use == Use.DRIVE
        and abs(wrap(roads.lanes[c.lane].line.start.yaw_rad - roads.lanes[c.other].line.start.yaw_rad)) > 2.5
    ]  # fmt: skip
    assert len(lefts) == 4
    assert all(c.yields for c in lefts)
    roads = built("crossroads(seed=5, arms=3, control='stop')")
    for c in roads.conflicts:
        mine, other = roads.lanes[c.lane], roads.lanes[c.other]
        if mine.use == other.use == Use.DRIVE and mine.control != other.control:
            assert c.yields == (mine.control == Control.STOP)
        if mine.use != other.use:
            assert c.yields == (mine.use == Use.DRIVE)


def test_a_seed_says_which_map_and_another_gives_another() -> None:
    first, again, other = (catalog.make(f"rural(seed={k})", "roads").build() for k in (1, 1, 2))
    assert first.lanes == again.lanes
    assert first.boxes == again.boxes
    assert first.lanes != other.lanes


def test_a_motorway_has_an_entry_that_must_merge_a_lane_that_ends_and_an_exit() -> None:
    lanes = built("motorway()").lanes
    must_merge = [lane for lane in lanes if not lane.successors and (lane.left >= 0 and lanes[lane.left].successors)]
    assert len(must_merge) == 4  # an entry and a lane's end each way
    assert sum(len(lane.successors) == 2 for lane in lanes) == 2


def test_parked_cars_stand_on_the_parking_strip() -> None:
    spelled = "town(seed=1, blocks=2)"
    cars = [box for box in built(spelled).boxes if box.kind in (Class.CAR, Class.VAN)]
    assert len(cars) > 20
    assert (classes(spelled, np.array([[box.x_m, box.y_m] for box in cars])) == Class.PARKING).all()


def test_a_raster_too_fine_or_a_wrong_map_is_refused_in_one_line() -> None:
    roads = built("rural(seed=1)")
    with pytest.raises(InputError, match="metres_per_pixel must be above"):
        roads.raster(0.0)
    with pytest.raises(InputError, match="as successor, which is not there"):
        RoadMap("x", (roads.lanes[0].__class__(roads.lanes[0].line, 3.0, 10.0, successors=(7,)),))
    lane = roads.lanes[0]
    with pytest.raises(InputError, match=r"starts .* away"):
        RoadMap("x", (lane.__class__(lane.line, 3.0, 10.0, successors=(1,)), lane))
    with pytest.raises(SpellingError, match="arms"):
        catalog.make("crossroads(arms=9)", "roads")
    assert isinstance(roads.boxes[0], Box)

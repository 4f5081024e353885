"""The expert in what is critical: it survives what can be survived, obeys, and keeps the distances of RSS."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from stalwart.core import catalog
from stalwart.drive import score
from stalwart.drive.geometry.tables import LANES
from stalwart.drive.planners.along import FAR, along_route
from stalwart.drive.planners.expert import Expert
from stalwart.drive.planners.rss import rss_distance
from stalwart.drive.scenarios.acting import follow
from stalwart.drive.scenarios.stage import put, way_on, worlds_of
from stalwart.drive.simulation import make


@cache
def driven(driver: str, scenario: str) -> list[dict[str, Any]]:
    return list(list(score(driver, scenario))[-1].values["episodes"])


@pytest.mark.parametrize(
    "scenario",
    [
        "lead_braking(speed_kmh=(110,), headway_s=(1, 2), brake_mps2=(8,))",
        "occluded_pedestrian(speed_kmh=(45,), steps_s=(1.5, 3), walks_mps=(2,))",
        "red_light_runner(speed_kmh=(40,), theirs_kmh=(50,), after_s=(-1, 0))",
        "unprotected_left(speed_kmh=(40,), theirs_kmh=(45,), every_s=(1.8, 4.5))",
        "merge(speed_kmh=(60,), theirs_kmh=(100,), every_s=(1.5, 4))",
        "roundabout_entry(speed_kmh=(40,), cars=(5,), phase=(0, 0.5))",
    ],
)
def test_it_comes_through_what_the_lane_keeper_may_not(scenario: str) -> None:
    for episode in driven("expert", scenario):
        assert episode["collision"] is None, episode
        assert episode["completion"] == 1.0, episode
        assert episode["rss_violations"] == 0, episode
        assert episode["red_lights"] == episode["stop_signs"] == 0


def test_it_survives_every_cut_in_that_the_regulation_wants_survived() -> None:
    table = "eu_cut_in(speed_kmh=(90,), slower_kmh=(10, 30, 60), ttc_s=(0.6, 1.2, 2.2))"
    expert, lane = driven("expert", table), driven("lane", table)
    assert sum(e["variant"]["avoidable"] for e in expert) >= 4
    assert all(e["collision"] is None for e in expert if e["variant"]["avoidable"])
    assert sum(e["collision"] is not None for e in lane) > sum(e["collision"] is not None for e in expert)


def test_it_follows_at_the_distance_of_rss() -> None:
    world, _ = worlds_of(["motorway(seed=1)"], [{}, {}], 0, actors=1)
    for w, speed in enumerate((25.0, 15.0)):
        put(world, w, 0, 1, 10.0, speed + 4.0)
        put(world, w, 1, 1, 160.0, speed)
    driver, s = Expert(world), world.state
    for _ in range(260):
        controls = driver()
        controls[:, 1] = [
            [np.clip(v - s.speed_mps[w, 1], -1, 1), controls[w, 1, 1]] for w, v in enumerate((25.0, 15.0))
        ]
        world.step(controls)
        gap = along_route(world).clear_m[:, 0, 1]
        assert (gap >= rss_distance(s.speed_mps[:, 0], s.speed_mps[:, 1])).all()
    assert gap == pytest.approx(rss_distance(np.array([25.0, 15.0]), np.array([25.0, 15.0])), rel=0.35)


def test_who_is_along_a_route_is_where_geometry_has_them() -> None:
    """Against distances in the plane, on a straight stretch; those of the other carriageway are on no lane of it."""
    world = make("motorway(seed=1)", 6, agents=24, walkers=0, seed=2)
    s, near = world.state, along_route(world)
    assert (near.ahead_m[:, 0, 0] == FAR).all()
    checked = 0
    for w in range(6):
        c, n = np.cos(s.yaw_rad[w, 0]), np.sin(s.yaw_rad[w, 0])
        dx, dy = s.x_m[w] - s.x_m[w, 0], s.y_m[w] - s.y_m[w, 0]
        for j in np.flatnonzero((near.ahead_m[w, 0] != FAR) & (np.abs(near.ahead_m[w, 0]) < 60)):
            assert near.ahead_m[w, 0, j] == pytest.approx(dx[j] * c + dy[j] * n, abs=3.5)
            assert near.aside_m[w, 0, j] == pytest.approx(dy[j] * c - dx[j] * n, abs=3.0)  # a bend of 600 m
            checked += 1
        same = np.cos(s.yaw_rad[w] - s.yaw_rad[w, 0]) < -0.9
        assert (near.ahead_m[w, 0, same & (s.alive[w] != 0)] == FAR).all()
    assert checked >= 4


def before_an_end() -> tuple[int, int, int, float]:
    """On `motorway(seed=1)` a lane, the next one, which ends, the one beside that, and the first one's length."""
    lanes = catalog.make("motorway(seed=1)", "roads").build().lanes
    for first, lane in enumerate(lanes):
        for ends in lane.successors if lane.left >= 0 else ():
            beside = lanes[ends].left
            if not lanes[ends].successors and beside >= 0 and lanes[beside].successors:
                return first, ends, beside, lane.line.length_m
    raise AssertionError("no lane ends there")


@pytest.mark.parametrize("ahead_m", [-3.0, 4.0])
def test_where_its_lane_ends_it_waits_for_room_beside_whoever_is_there(ahead_m: float) -> None:
    first, ends, beside, length = before_an_end()
    world, _ = worlds_of(["motorway(seed=1)"], [{}], 0, actors=1)
    put(world, 0, 0, first, length - 60.0, 25.0, route=(beside,))
    put(world, 0, 1, first - 1, length - 60.0 + ahead_m, 25.0)
    driver, s = Expert(world), world.state
    for _ in range(160):
        controls = driver()
        controls[:, 1:] = follow(world, 1, 25.0)[:, None]
        assert not world.step(controls).hit.any()
    base = int(world.places.map_n[0, LANES])
    assert s.lane[0, 0] - base != ends
    assert abs(s.route_d_m[0, 0]) < 0.5
    assert s.speed_mps[0, 0] > 15


def test_from_a_stand_before_a_lanes_end_it_turns_out_when_nobody_comes() -> None:
    _, ends, beside, _ = before_an_end()
    world, _ = worlds_of(["motorway(seed=1)"], [{}], 0)
    length = world.maps[0].lanes[ends].line.length_m
    put(world, 0, 0, ends, length - 9.0, 0.0)
    s = world.state
    s.route[0, 0, :2] = np.array(way_on(world, 0, [beside]))[:2] + int(world.places.map_n[0, LANES])
    s.route_s_m[0, 0], s.route_d_m[0, 0] = length - 9.0, -3.6
    driver = Expert(world)
    for _ in range(150):
        outcome = world.step(driver())
        assert not outcome.off_road.any()
    assert abs(s.route_d_m[0, 0]) < 0.5
    assert s.speed_mps[0, 0] > 5

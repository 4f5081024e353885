"""Every scenario of the catalog: who is where, that what it tells happens, and the regulations' figures."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest

from stalwart.core import catalog
from stalwart.core.errors import SpellingError
from stalwart.drive import score
from stalwart.drive.dressing import Dressed
from stalwart.drive.geometry.curves import CentreLine, Pose, line
from stalwart.drive.geometry.lanes import Control, Lane, RoadMap, Use
from stalwart.drive.scenarios.regulation import careful_human_avoids, eu_least_ttc_s
from stalwart.drive.scenarios.stage import Stage, lawful_way_m, put, set_green, worlds_of
from stalwart.drive.scenarios.suites import SUITES, scenarios_of
from stalwart.drive.scene import Class
from stalwart.drive.scores.suite import drive
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.simulation import Worlds, make

SMALL = {
    "cut_in": "cut_in(speed_kmh=(80,), slower_kmh=(20,), gap_m=(15, 30))",
    "lead_braking": "lead_braking(speed_kmh=(80,), headway_s=(1.5,), brake_mps2=(3, 8))",
    "occluded_pedestrian": "occluded_pedestrian(speed_kmh=(30,), steps_s=(1.5, 4), walks_mps=(1.5,))",
    "red_light_runner": "red_light_runner(speed_kmh=(36,), theirs_kmh=(36,), after_s=(0,))",
    "unprotected_left": "unprotected_left(speed_kmh=(20,), theirs_kmh=(40,), every_s=(3,))",
    "merge": "merge(speed_kmh=(70,), theirs_kmh=(90,), every_s=(2,))",
    "roundabout_entry": "roundabout_entry(speed_kmh=(20,), cars=(4,), phase=(0,))",
    "stopped_vehicle": "stopped_vehicle(speed_kmh=(65,), distance_m=(90,), aside_m=(0,))",
    "wrong_way": "wrong_way(speed_kmh=(50,), theirs_kmh=(50,), returns_s=(0.8, 3))",
    "cyclist_overtaking": "cyclist_overtaking(speed_kmh=(60,), rides_kmh=(18,), edge_m=(0.8,))",
    "eu_cut_in": "eu_cut_in(speed_kmh=(90,), slower_kmh=(20, 60), ttc_s=(0.9, 2.2))",
    "rival": "rival(seconds=4)",
    "free": "free(roads='rural', worlds=2, maps=1, seconds=4)",
}
"""A spelling of each that is quick to play; a new one is checked the day its file appears."""


def coasting(world: Worlds) -> Any:
    """Follows its route at the speed it has, whoever is in the way: what every critical scenario must punish."""
    start = world.state.speed_mps[:, 0].copy()

    def controls() -> np.ndarray:
        seen = world.observe()
        x, y = seen[..., 13], seen[..., 14]
        steer = np.arctan(2 * (y) / np.maximum(x * x + y * y, 4.0) * 2.75)
        return np.stack([np.clip(np.minimum(start, 30.0)[:, None] - seen[..., 0], -4, 2), steer], -1)

    return controls


@cache
def coasted(name: str) -> list[dict[str, Any]]:
    return list(list(score(coasting, SMALL[name]))[-1].values["episodes"])


def test_each_scenario_has_a_small_spelling_and_each_suite_can_be_read() -> None:
    assert set(SMALL) == set(catalog.names("scenarios"))
    for suite in SUITES:
        assert scenarios_of(suite)


@pytest.mark.parametrize(
    ("spelled", "field"),
    [
        ("cut_in(gap_m=(-5,))", "gap_m"), ("lead_braking(speed_kmh=(50, 1e9))", "speed_kmh"),
        ("roundabout_entry(cars=(7,))", "cars"), ("stopped_vehicle(aside_m=(9,))", "aside_m"),
    ],
)  # fmt: skip
def test_what_no_road_has_room_for_is_refused(spelled: str, field: str) -> None:
    with pytest.raises(SpellingError, match=field):
        catalog.make(spelled, "scenarios")


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_same_arguments_give_the_same_stage_with_everyone_apart(name: str) -> None:
    scenario = catalog.make(SMALL[name], "scenarios")
    one, other = (scenario.stage("train", 3) for _ in range(2))
    assert isinstance(one, Stage)
    np.testing.assert_array_equal(one.world.state.floats, other.world.state.floats)
    np.testing.assert_array_equal(one.world.state.words, other.world.state.words)
    s = one.world.state
    assert s.alive[:, 0].all()
    assert (one.goal_m > 0).all()
    for w in range(s.worlds):
        here = np.flatnonzero(s.alive[w])
        away = np.hypot(s.x_m[w, here] - s.x_m[w, 0], s.y_m[w, here] - s.y_m[w, 0])
        assert (away[1:] > 5.0).all()


@pytest.mark.parametrize(
    ("name", "whom"),
    [
        ("cut_in", "car"), ("lead_braking", "car"), ("occluded_pedestrian", "pedestrian"), ("red_light_runner", "car"),
        ("stopped_vehicle", "car"), ("wrong_way", "car"), ("cyclist_overtaking", "cyclist"), ("eu_cut_in", "car"),
    ],
)  # fmt: skip
def test_who_minds_nobody_meets_whom_the_scenario_brings(name: str, whom: str) -> None:
    assert whom in {e["collision"] for e in coasted(name)}


def test_the_runner_of_a_red_light_runs_a_red_light_and_one_has_green() -> None:
    scenario = catalog.make(SMALL["red_light_runner"], "scenarios")
    stage = scenario.stage("test", 0)
    own = theirs = False
    controls = coasting(stage.world)
    stepped = stage.world.step

    def noting(asked: Any) -> Any:
        nonlocal own, theirs
        outcome = stepped(asked)
        own, theirs = own or bool(outcome.ran_red[0, 0]), theirs or bool(outcome.ran_red[0, 1])
        return outcome

    stage.world.step = noting  # type: ignore[method-assign]
    for _ in drive(stage, controls):
        pass
    assert theirs
    assert not own


def test_the_walker_is_hidden_by_the_van_until_it_steps_out() -> None:
    stage = catalog.make(SMALL["occluded_pedestrian"], "scenarios").stage("test", 0)
    s = stage.world.state
    assert (s.kind[:, 1] == Class.PEDESTRIAN).all()
    c, n = np.cos(s.yaw_rad[:, 0]), np.sin(s.yaw_rad[:, 0])
    walker, van = ((s.y_m[:, k] - s.y_m[:, 0]) * c - (s.x_m[:, k] - s.x_m[:, 0]) * n for k in (1, 2))
    ahead, before = ((s.x_m[:, k] - s.x_m[:, 0]) * c + (s.y_m[:, k] - s.y_m[:, 0]) * n for k in (1, 2))
    # The line of sight to the walker passes through the van's box at the van's distance.
    at_van = walker * before / ahead
    assert (np.abs(at_van - van) < s.width_m[:, 2] / 2).all()
    assert (before + s.length_m[:, 2] / 2 < ahead).all()


def test_the_regulations_table() -> None:
    """Regulation (EU) 2022/1426, annex III, part 1, 1.4.2, both columns as published."""
    kmh = np.array([10, 20, 30, 40, 50, 60]) / 3.6
    np.testing.assert_allclose(eu_least_ttc_s(kmh), [0.48, 0.71, 0.94, 1.18, 1.41, 1.64], atol=0.0051)
    np.testing.assert_allclose(eu_least_ttc_s(kmh, 2.4), [0.74, 1.32, 1.90, 2.47, 3.05, 3.63], atol=0.0051)


@pytest.mark.parametrize("slower", [5.0, 11.0, 17.0])
def test_the_careful_human_needs_what_its_course_of_braking_takes(slower: float) -> None:
    """Closing distance by hand: 1.15 s without braking, then braking that rises for 0.6 s, then 0.774 g."""
    full = 0.774 * 9.81
    after = slower - full * 0.6 / 2
    rising = slower * 0.6 - full * 0.6**2 / 6
    need = slower * 1.15 + (rising + after**2 / (2 * full) if after > 0 else 0.0)
    gaps = np.array([need - 0.15, need + 0.15])
    assert careful_human_avoids(gaps, np.full(2, slower), np.zeros(2)).tolist() == [False, True]
    assert careful_human_avoids(np.array([need - 0.4 * slower + 0.2]), np.array([slower]), np.array([0.4])).all()


def test_intrusions_come_at_about_the_time_to_collision_that_was_aimed_at() -> None:
    for e in coasted("eu_cut_in"):
        v = e["variant"]
        assert v["ttc_at_intrusion_s"] == pytest.approx(v["ttc_s"], abs=0.3)
        assert v["eu_least_ttc_s"] == pytest.approx(v["slower_kmh"] / 3.6 / 12 + 0.25, abs=0.02)
        assert v["avoidable"] == (v["ttc_at_intrusion_s"] > v["eu_least_ttc_s"])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_light_is_seen_by_cameras_alone_and_the_surface_felt_by_all(name: str) -> None:
    day = catalog.make(SMALL[name], "scenarios")
    night = dataclasses.replace(day, style="night")
    one, other = day.stage("test", 0).world, night.stage("test", 0).world
    np.testing.assert_array_equal(one.state.floats, other.state.floats)
    camera = Camera(height=24, width=36)
    bright, dark = (see(Dressed(world).scene().select(np.array([0])), camera) for world in (one, other))
    # The own lamps light the ground ahead and what stands there: how dark the whole is hangs on how much sky it shows.
    sky = bright.kind[0] == Class.SKY
    for part, most in ((sky, 0.1), (~sky, 0.75)):
        assert dark.rgb[0, :, part].mean() < most * bright.rgb[0, :, part].mean()
    icy = dataclasses.replace(day, surface="ice").stage("test", 0).world
    assert icy.state.grip_mps2 == pytest.approx(0.12 * 9.81)
    assert one.state.grip_mps2 == pytest.approx(0.85 * 9.81)


def test_the_lawful_way_takes_the_time_that_its_speeds_say_over_as_many_lanes_as_there_are() -> None:
    """Ten lanes of 21 m at 10 m/s; each is sampled some metres apart, which is none of the driver's business."""
    lanes = tuple(
        Lane(CentreLine(Pose(21.0 * k, 0, 0), (line(21.0),)), 3.5, 10.0, successors=(k + 1,) if k < 9 else ())
        for k in range(10)
    )
    world = make([RoadMap("ten", lanes)], 3, agents=1, walkers=0, egos=1, traffic="timid", seed=0)
    for w, at in enumerate((0.0, 7.3, 20.9)):
        put(world, w, 0, 0, at, 8.0, route=tuple(range(1, 10)))
    np.testing.assert_allclose(lawful_way_m(world, 12.34), 123.4, atol=0.01)
    np.testing.assert_allclose(lawful_way_m(world, 1e6), 210.0 - np.array([0.0, 7.3, 20.9]), atol=0.01)


def test_the_lawful_way_stands_at_red_and_goes_on_at_green() -> None:
    world, _ = worlds_of(["crossroads(seed=1)"], [{}, {}], 0)
    lanes = world.maps[0].lanes
    through = next(k for k, lane in enumerate(lanes) if lane.control == Control.SIGNAL and lane.use == Use.DRIVE)
    entering = next(k for k, lane in enumerate(lanes) if through in lane.successors)
    signal = world.maps[0].signals[lanes[through].signal]
    length = lanes[entering].line.length_m
    for w in range(2):
        put(world, w, 0, entering, length - 20.0, 8.0, route=(through,))
    set_green(world, 0, through, into_s=0.5)
    set_green(world, 1, through, into_s=signal.green_s + signal.yellow_s + 0.5)
    red_s = signal.period_s - signal.green_s - signal.yellow_s - 0.5
    soon, later = lawful_way_m(world, 8.0), lawful_way_m(world, red_s + 8.0)
    assert soon[0] > 30
    assert soon[1] == pytest.approx(20.0, abs=1e-3)
    assert later[1] > 30

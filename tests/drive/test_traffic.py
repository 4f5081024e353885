"""Traffic against its equations, against itself in plain Python, and against common sense."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.drive import compiled
from stalwart.drive.chance import world_keys
from stalwart.drive.geometry.curves import CentreLine, Pose, arc, line
from stalwart.drive.geometry.lanes import Control, Lane, RoadMap, Turn
from stalwart.drive.geometry.tables import (
    CONFLICTS,
    CONFLICTS_END,
    CONTROL,
    JUNCTION,
    LEADING,
    PARTED,
    SIGNAL,
    tables_of,
)
from stalwart.drive.scene import Class
from stalwart.drive.sensors import frame, ground, shading
from stalwart.drive.sensors.camera import see
from stalwart.drive.traffic.around import hang, leader
from stalwart.drive.traffic.drivers import DESIRE, DISTRACTED, POPULATIONS, Population, population_of
from stalwart.drive.traffic.following import change_pays, equilibrium_gap, idm
from stalwart.drive.traffic.step import advance, clock, start
from stalwart.drive.traffic.touch import touching
from stalwart.drive.traffic.yielding import GREEN, RED, YELLOW, signal_state
from stalwart.drive.world.state import State, empty_state
from stalwart.mdp import surrogate, surrogate_rows

F = np.float32
DT = F(0.1)


class Run:
    """Worlds of one map under traffic alone."""

    def __init__(
        self,
        roads: RoadMap,
        worlds: int,
        agents: int,
        walkers: int = 0,
        people: Population | str = "timid",
        first: int = 0,
    ) -> None:
        self.tables, self.places = tables_of([roads])
        self.state: State = empty_state(worlds, agents, 1)
        self.crowd, self.walkers = population_of(people).crowd(), walkers
        s = self.state
        start(
            self.tables, self.places, s.floats, s.ints, s.words, s.route, s.traits, self.crowd, walkers,
            np.ones(worlds, np.bool_), world_keys(0, worlds, first), np.zeros(worlds, np.uint64),
        )  # fmt: skip

    def step(self, count: int = 1) -> State:
        s = self.state
        for _ in range(count):
            advance(
                self.tables, self.places, s.floats, s.ints, s.words, s.route, s.traits, s.grip_mps2, self.crowd,
                self.walkers, DT,
            )  # fmt: skip
        return s


def built(spelled: str) -> RoadMap:
    roads: RoadMap = catalog.make(spelled, "roads").build()
    return roads


speeds = st.floats(0, 40, width=32)


@given(speeds, st.floats(5, 40, width=32), st.floats(1, 200, width=32), speeds)
@settings(deadline=None)
def test_idm_is_its_equation(v: float, v0: float, gap: float, leader: float) -> None:
    headway, a, b, s0 = 1.5, 1.4, 2.0, 2.0
    wanted = s0 + max(0.0, v * headway + v * (v - leader) / (2 * math.sqrt(a * b)))
    said = max(max(a * (1 - (v / v0) ** 4), -3.0) - a * (wanted / gap) ** 2, -9.0)
    assert idm(F(v), F(v0), F(gap), F(leader), F(headway), F(a), F(b), F(s0)) == pytest.approx(said, rel=1e-3, abs=1e-3)


@given(st.floats(1, 28), st.floats(0.8, 2.5), st.floats(1, 4))
@settings(deadline=None)
def test_at_the_equilibrium_gap_nobody_gains_or_loses_speed(v: float, headway: float, standing: float) -> None:
    gap = equilibrium_gap(F(v), F(30), F(headway), F(standing))
    assert idm(F(v), F(30), F(gap), F(v), F(headway), F(1.4), F(2), F(standing)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("cars", [8, 20, 40])
def test_a_ring_road_flows_as_the_fundamental_diagram_says(cars: int) -> None:
    """On a ring all cars end at the speed at which the gap that each has is the equilibrium gap."""
    around = CentreLine(Pose(0, 0, 0), (arc(80, 2 * math.pi * 0.9999999),))
    roads = RoadMap("ring", (Lane(around, 3.5, 12.0, successors=(0,)),))
    run = Run(roads, 1, cars + 1)
    state, length = run.state, around.length_m
    state.alive[:, 0] = 0  # nobody drives from outside
    state.traits[:, :, 0] = 1.0
    state.traits[:, :, 1:5] = (1.2, 1.5, 2.0, 2.0)
    at = np.linspace(0, length, cars, endpoint=False)
    x, y, yaw, _ = around.poses(at).T
    state.x_m[0, 1:], state.y_m[0, 1:], state.yaw_rad[0, 1:], state.s_m[0, 1:] = x, y, yaw, at
    state.kind[0, 1:], state.length_m[0, 1:], state.width_m[0, 1:] = Class.CAR, 4.6, 1.85
    state.alive[0, 1:], state.speed_mps[0, 1:], state.d_m[0, 1:], state.target_d_m[0, 1:] = 1, 3.0, 0, 0
    state.lane[0, 1:] = state.next_lane[0, 1:] = state.after_lane[0, 1:] = state.shown_lane[0, 1:] = 0
    run.step(2000)
    low, high = 0.0, 11.999
    for _ in range(60):
        middle = (low + high) / 2
        if float(equilibrium_gap(F(middle), F(12), F(1.2), F(2.0))) > length / cars - 4.6:
            high = middle
        else:
            low = middle
    speed = state.speed_mps[0, 1:]
    assert state.alive[0, 1:].all()
    assert speed.mean() == pytest.approx(low, rel=0.02)
    assert speed.std() < 0.05
    assert np.abs(state.d_m[0, 1:]).max() < 0.25


def test_mobil_changes_where_it_pays_and_never_where_it_endangers() -> None:
    def pays(mine: tuple[float, float], new: tuple[float, float], old: tuple[float, float], politeness: float) -> bool:
        return bool(change_pays(*map(F, (*mine, *new, *old, politeness, 0.1, 3.0))))

    assert pays((-1, 1), (0, 0), (0, 0), 0.5)
    assert not pays((0, 0.05), (0, 0), (0, 0), 0.5)
    assert not pays((-1, 1), (0, -3.5), (0, 0), 0.0)  # the new follower would have to brake too hard
    assert not pays((0, 1), (0, -2.5), (0, 0), 0.5)  # it costs the polite more than they gain
    assert pays((0, 1), (0, -2.5), (0, 0), 0.1)
    assert pays((0, 0.05), (0, 0), (-1, 1), 0.5)  # and the old follower gains


def test_a_signal_goes_from_green_to_yellow_to_red() -> None:
    roads = built("crossroads()")
    tables, _ = tables_of([roads])
    plan = roads.signals[0]
    states = [signal_state(tables, 0, F(t)) for t in np.arange(0, 2 * plan.period_s, 0.5)]
    green = int(2 * plan.green_s)
    assert states[:green] == [GREEN] * green
    assert states[green : green + 6] == [YELLOW] * 6
    assert states[green + 6 : int(2 * plan.period_s)] == [RED] * (int(2 * plan.period_s) - green - 6)
    other = [signal_state(tables, 1, F(t)) for t in np.arange(0, 2 * plan.period_s, 0.5)]
    assert not any(a != RED and b != RED for a, b in zip(states, other, strict=True))


def test_a_world_is_the_same_bit_for_bit_in_any_batch_and_with_any_number_of_threads() -> None:
    roads = built("crossroads(seed=3)")
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        many = Run(roads, 6, 14, 3, "mixed")
        many.step(150)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        few = Run(roads, 2, 14, 3, "mixed", first=3)
        few.step(150)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(many.state.floats[3:5], few.state.floats)
    np.testing.assert_array_equal(many.state.ints[3:5], few.state.ints)
    assert not np.array_equal(many.state.floats[3], many.state.floats[4])


PLAIN = """
import json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from test_traffic import Run, built
run = Run(built("crossroads(seed=3)"), 1, 9, 2, "mixed")
state = run.step(12)
print(json.dumps([state.floats.tolist(), state.ints.tolist()]))
"""


def test_compiled_kernels_do_what_the_same_functions_do_in_plain_python() -> None:
    run = Run(built("crossroads(seed=3)"), 1, 9, 2, "mixed")
    fast = run.step(12)
    said = subprocess.run(
        [sys.executable, "-c", PLAIN, os.path.dirname(__file__)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    floats, ints = json.loads(said.stdout.splitlines()[-1])
    np.testing.assert_array_equal(np.array(ints), fast.ints)
    np.testing.assert_allclose(np.array(floats), fast.floats, atol=5e-3)
    assert fast.alive.sum() > 6


@pytest.mark.parametrize(
    ("spelled", "agents", "walkers"),
    [("motorway(seed=1)", 30, 0), ("roundabout(seed=1)", 12, 0), ("crossroads(seed=1)", 18, 4)],
)
def test_timid_traffic_keeps_off_each_other_stays_on_the_road_and_stops_at_red(
    spelled: str, agents: int, walkers: int
) -> None:
    roads = built(spelled)
    run = Run(roads, 6, agents, walkers)
    state, tables = run.state, run.tables
    state.alive[:, 0] = 0
    raster, (left, bottom) = roads.raster(0.25)
    touched = np.zeros((6, agents), np.bool_)
    driven = 0.0
    drives = slice(1, agents - walkers)
    for _ in range(400):
        before, alive = state.lane.copy(), state.alive.copy()
        run.step()
        touching(state.floats, state.ints, touched)
        assert not touched.any()
        entered = (
            (state.lane != before) & (alive == 1) & (state.alive == 1) & (tables.lane_n[state.lane, JUNCTION] >= 0)
        )
        for i, a in np.argwhere(entered[:, drives]):
            lane = state.lane[i, a + 1]
            if tables.lane_n[lane, CONTROL] == Control.SIGNAL:
                time_s = clock(state.words[i], DT)
                assert signal_state(tables, tables.lane_n[lane, SIGNAL], F(time_s)) != RED
        driven += float((state.speed_mps * state.alive)[:, drives].sum()) * 0.1
    for i, a in np.argwhere(state.alive[:, drives]):
        at = Pose(state.x_m[i, a + 1], state.y_m[i, a + 1], state.yaw_rad[i, a + 1])
        for front in (-0.45, 0.0, 0.45):
            p = at.ahead(front * float(state.length_m[i, a + 1]))
            on = raster[int((p.y_m - bottom) / 0.25), int((p.x_m - left) / 0.25)]
            assert on not in (Class.TERRAIN, Class.SIDEWALK, Class.PLOT)
    assert driven > 40 * agents  # they do drive


def test_who_turns_off_waits_behind_who_stands_where_the_ways_are_not_yet_apart() -> None:
    """At a wide junction one stands in the turn to the left, and another turns right from the same lane."""
    roads = built("town(seed=1, blocks=2)")
    run = Run(roads, 1, 3)
    s, t = run.state, run.tables
    ways = [
        (parent, left, right)
        for parent, lane in enumerate(roads.lanes)
        for left in lane.successors
        for right in lane.successors
        if roads.lanes[left].turn == Turn.LEFT and roads.lanes[right].turn == Turn.RIGHT
        and t.lane_n[right, LEADING] == parent
    ]  # fmt: skip
    assert ways
    for parent, left, right in ways:
        upto = float(t.lane_f[right, PARTED + roads.lanes[parent].successors.index(left)])
        s.alive[:] = 0
        for a, (lane, at) in enumerate([(left, upto + 2.2), (parent, roads.lanes[parent].line.length_m - 12.0)], 1):
            x, y, yaw, _ = roads.lanes[lane].line.poses(at)[0]
            s.x_m[0, a], s.y_m[0, a], s.yaw_rad[0, a], s.s_m[0, a], s.d_m[0, a] = x, y, yaw, at, 0.0
            s.kind[0, a], s.length_m[0, a], s.width_m[0, a], s.alive[0, a] = Class.CAR, 4.7, 1.9, 1
            s.speed_mps[0, a], s.accel_mps2[0, a], s.steer_rad[0, a], s.target_d_m[0, a] = 0.0, 0.0, 0.0, 0.0
            s.lane[0, a], s.waited_s[0, a] = lane, 0.0
        s.next_lane[0, 1], s.after_lane[0, 1], s.shown_lane[0, 1] = roads.lanes[left].successors[0], -1, -1
        s.next_lane[0, 2] = s.shown_lane[0, 2] = right
        s.after_lane[0, 2] = roads.lanes[right].successors[0]
        head = np.full(len(roads.lanes), -1, np.int32)
        link, order = np.full((2, 3), -1, np.int32)
        hang(s.floats[0], s.ints[0], 0, head, link, order, F(1e6))
        asked = (2, parent, s.s_m[0, 2], right, s.after_lane[0, 2], F(100.0), 0, head, link)
        gap, speed, who = leader(t, s.floats[0], s.ints[0], *asked)
        front = float(s.s_m[0, 2]) + 2.35
        assert (who, speed) == (1, 0.0)
        assert gap == pytest.approx(roads.lanes[parent].line.length_m - front + upto - 0.15, abs=1e-3)
        s.s_m[0, 1] += 0.3  # its tail is out of the way
        assert leader(t, s.floats[0], s.ints[0], *asked)[2] == -1


def test_the_leader_is_the_nearest_bumper_ahead_among_all() -> None:
    """Beside all pairs compared: long and short bodies anywhere on three lanes in a row, some at the same place."""
    ways = [CentreLine(Pose(at, 0, 0), (line(100),)) for at in (0, 100, 200)]
    lanes = tuple(Lane(way, 3.5, 12.0, successors=(k + 1,) if k < 2 else ()) for k, way in enumerate(ways))
    tables, _ = tables_of([RoadMap("straight", lanes)])
    g = np.random.default_rng(0)
    for _ in range(20):
        s = empty_state(1, 40, 1)
        s.alive[:], s.lane[:] = g.random((1, 40)) < 0.8, g.integers(0, 3, (1, 40))
        s.s_m[:], s.length_m[:] = g.integers(0, 60, (1, 40)) * 1.7, g.uniform(0.5, 13.9, (1, 40))
        head, (link, order) = np.full(3, -1, np.int32), np.full((2, 40), -1, np.int32)
        hang(s.floats[0], s.ints[0], 0, head, link, order, F(1e6))
        for a in np.flatnonzero(s.alive[0]):
            lane, at = int(s.lane[0, a]), s.s_m[0, a]
            then, later = (lane + 1 if lane < 2 else -1), np.int32(lane + 2 if lane < 1 else -1)
            asked = (int(a), lane, at, then, later, F(150.0), 0, head, link)
            gap, _, who = leader(tables, s.floats[0], s.ints[0], *asked)
            rears = 100.0 * (s.lane[0] - lane) + s.s_m[0] - at - (s.length_m[0] + s.length_m[0, a]) / 2
            for on in range(lane, 3):
                here = (s.alive[0] == 1) & (s.lane[0] == on) & (np.arange(40) != a)
                if on == lane:
                    here &= (s.s_m[0] > at) | ((s.s_m[0] == at) & (np.arange(40) > a))
                if here.any():
                    wanted = float(rears[here].min())
                    assert (gap, rears[who]) == (pytest.approx(wanted, abs=1e-3), pytest.approx(wanted, abs=1e-3))
                    break
                if 100.0 * (on + 1 - lane) - at - s.length_m[0, a] / 2 > 150.0:
                    assert who == -1
                    break
            else:
                assert who == -1


@pytest.mark.parametrize(("of", "within"), [(surrogate_rows, surrogate), (frame, shading), (frame, ground)])
def test_modules_imported_from_a_package_or_another_room_count(
    of: ModuleType, within: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, changed, text = Path(str(of.__file__)), Path(str(within.__file__)), compiled._text
    before = compiled._stands_on.__wrapped__(file)
    monkeypatch.setattr(compiled, "_text", lambda path: text(path) + (b"#" if path == changed else b""))
    assert compiled._stands_on.__wrapped__(file) != before


def test_a_kernel_is_stale_when_what_is_built_into_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    step, camera = Path(advance.__code__.co_filename), Path(see.__code__.co_filename)
    changed = Path(hang.py_func.__code__.co_filename if hasattr(hang, "py_func") else hang.__code__.co_filename)

    def digests() -> list[bytes]:
        return [compiled._stands_on.__wrapped__(file) for file in (step, camera)]

    before, text = digests(), compiled._text
    monkeypatch.setattr(compiled, "_text", lambda path: text(path) + (b"#" if path == changed else b""))
    after = digests()
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_people_walk_over_crossings_and_jaywalkers_over_the_road() -> None:
    roads = built("crossroads(seed=1)")
    run = Run(roads, 4, 12, 10, replace(POPULATIONS["timid"], jaywalks_per_h=600))
    tables, state = run.tables, run.state
    over, jay = 0, 0
    for _ in range(60):
        run.step(10)
        walkers = state.lane[:, 2:]
        over += int((tables.lane_n[walkers, JUNCTION] >= 0).sum())
        jay += int(((np.abs(state.d_m[:, 2:]) > 3) & (tables.lane_n[walkers, JUNCTION] < 0)).sum())
    assert over > 5
    assert jay > 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Population(timid=0.5), "must sum to 1"),
        (lambda: Population(speeding=2), r"speeding must lie in \[0, 1\]"),
        (lambda: Population(vans=0.9, trucks=0.5), "at most 1"),
        (lambda: Population(jaywalks_per_h=-1), "at least 0"),
        (lambda: population_of("timud"), "Did you mean 'timid'"),
        (lambda: tables_of([]), "at least one map"),
    ],
)
def test_wrong_populations_are_refused_in_one_line(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()  # type: ignore[operator]


def placed(run: Run, roads: RoadMap, agent: int, lanes: tuple[int, ...], s_m: float, speed_mps: float) -> None:
    """Put a car onto the first of the lanes that it is to drive; nobody else is there."""
    s = run.state
    s.alive[0, agent], s.kind[0, agent], s.length_m[0, agent], s.width_m[0, agent] = 1, Class.CAR, 4.6, 1.85
    s.x_m[0, agent], s.y_m[0, agent], s.yaw_rad[0, agent], _ = roads.lanes[lanes[0]].line.poses(np.array([s_m]))[0]
    s.s_m[0, agent], s.d_m[0, agent], s.target_d_m[0, agent], s.speed_mps[0, agent] = s_m, 0, 0, speed_mps
    s.accel_mps2[0, agent] = s.steer_rad[0, agent] = s.waited_s[0, agent] = 0
    s.lane[0, agent], s.next_lane[0, agent], s.after_lane[0, agent] = (*lanes, -1, -1)[:3]
    s.shown_lane[0, agent], s.stopped_for[0, agent] = s.next_lane[0, agent], -1


def test_who_looks_away_speeds_up_no_further_and_brakes_late_for_what_looms() -> None:
    roads = RoadMap("road", (Lane(CentreLine(Pose(0, 0, 0), (line(900.0),)), 3.5, 20.0),))
    run = Run(roads, 1, 3)
    s = run.state
    s.alive[:] = 0
    placed(run, roads, 1, (0,), 10.0, 12.0)
    placed(run, roads, 2, (0,), 150.0, 0.0)
    s.traits[0, 1, DISTRACTED], s.traits[0, 2, DISTRACTED], s.traits[0, 2, DESIRE] = 1.0, 0.0, 1e-3
    touch, least, speeds = np.zeros((1, 3), np.bool_), np.inf, []
    for _ in range(200):
        run.step()
        touching(s.floats, s.ints, touch)
        assert not touch.any()
        speeds.append(float(s.speed_mps[0, 1]))
        closing = max(speeds[-1] - float(s.speed_mps[0, 2]), 1e-3)
        if speeds[-1] > 11.5:
            least = min(least, (float(s.s_m[0, 2] - s.s_m[0, 1]) - 4.6) / closing)
    assert max(speeds) < 12.01
    assert speeds[-1] < 1.0
    assert least < 1.4  # a driver who looks is slow long before


def test_two_that_stand_within_an_all_way_stop_go_on_one_after_the_other() -> None:
    roads = built("crossroads(seed=2, control='all_way_stop')")
    run = Run(roads, 1, 3)
    s, t = run.state, run.tables
    a, b, first, second = next(
        (a, int(t.conflict_n[k, 0]), float(t.conflict_m[k, 0]), float(t.conflict_m[k, 2]))
        for a, lane in enumerate(roads.lanes) if lane.control == Control.ALL_WAY_STOP
        for k in range(t.lane_n[a, CONFLICTS], t.lane_n[a, CONFLICTS_END])
        if t.lane_n[int(t.conflict_n[k, 0]), CONTROL] == Control.ALL_WAY_STOP and t.conflict_m[k, [0, 2]].min() > 6.5
    )  # fmt: skip
    s.alive[:] = 0
    placed(run, roads, 1, (a, roads.lanes[a].successors[0]), first - 2.3 - 1.5, 0.0)
    placed(run, roads, 2, (b, roads.lanes[b].successors[0]), second - 2.3 - 2.5, 0.0)
    touch, when = np.zeros((1, 3), np.bool_), [0, 0]
    for tick in range(1, 150):
        run.step()
        touching(s.floats, s.ints, touch)
        assert not touch.any()
        for k, lane in enumerate((a, b)):
            if not when[k] and s.lane[0, 1 + k] != lane:
                when[k] = tick
    assert 0 < when[0] < when[1]

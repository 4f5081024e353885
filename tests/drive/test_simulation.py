"""The worlds' API and the Gymnasium environments."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from stalwart.core.errors import InputError
from stalwart.drive.env import DriveEnv, DriveVectorEnv
from stalwart.drive.geometry.lanes import Control
from stalwart.drive.geometry.tables import CONTROL, JUNCTION, LANE_M
from stalwart.drive.observation import OBSERVED, SCALE
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Worlds, make

ROADS = "crossroads(seed=1)"


@cache
def worlds() -> Worlds:
    return make(ROADS, 4, agents=10, walkers=2, seed=5)


def follow(world: Worlds, speed: float) -> np.ndarray:
    """Pure pursuit of the route at a speed: what a test needs of a driver."""
    seen = world.observe()[:, 0]
    x, y = seen[:, 7 + 3 * 2], seen[:, 7 + 3 * 2 + 1]
    steer = np.arctan(2 * y / np.maximum(x * x + y * y, 4.0) * 2.75)
    return np.stack([np.clip(speed - seen[:, 0], -5, 2), steer], 1)[:, None]


def test_the_same_worlds_come_again_and_an_episode_is_another_one() -> None:
    a, b = (make(ROADS, k, agents=10, walkers=2, seed=5, first=f) for k, f in ((4, 0), (2, 2)))
    np.testing.assert_array_equal(a.observe()[2:], b.observe())
    before = a.observe()
    a.reset(np.array([True, False, False, True]))
    after = a.observe()
    np.testing.assert_array_equal(before[1:3], after[1:3])
    assert not np.array_equal(before[0], after[0])
    a.step(np.zeros((4, 1, 2)))
    b.reset()
    assert a.state.words[1, 1] == 2
    assert b.state.words[0, 1] == 1


def test_the_vector_tells_what_is_there() -> None:
    world = worlds()
    state, seen = world.state, world.observe()
    assert seen.shape == (4, 1, OBSERVED) == (4, 1, len(SCALE))
    for i in range(4):
        v = seen[i, 0]
        assert v[0] == state.speed_mps[i, 0]
        x, y, yaw = state.x_m[i, 0], state.y_m[i, 0], state.yaw_rad[i, 0]
        route = state.route[i, 0]
        lane = world.maps[0].lanes[route[0]].line
        s = float(state.route_s_m[i, 0])
        for k, ahead in enumerate((0.0, 5.0, 10.0, 20.0, 40.0)):
            at, on = s + ahead, 0
            while at > world.maps[0].lanes[route[on]].line.length_m and route[on + 1] >= 0:
                at -= world.maps[0].lanes[route[on]].line.length_m
                on += 1
            px, py, _, _ = world.maps[0].lanes[route[on]].line.poses(at)[0]
            c, n = math.cos(yaw), math.sin(yaw)
            said = (px - x) * c + (py - y) * n, (py - y) * c - (px - x) * n
            assert tuple(v[7 + 3 * k : 9 + 3 * k]) == pytest.approx(said, abs=0.03)
        assert lane.length_m > 0
        away = np.hypot(state.x_m[i] - x, state.y_m[i] - y)
        away[(state.alive[i] == 0) | (np.arange(10) == 0)] = np.inf
        near = [k for k in np.argsort(away) if away[k] < 60][:8]
        for k, j in enumerate(near):
            row = v[28 + 8 * k : 36 + 8 * k]
            assert math.hypot(row[0], row[1]) == pytest.approx(away[j], abs=1e-3)
            assert row[4] == state.speed_mps[i, j]
            assert row[7] == (state.kind[i, j] == Class.PEDESTRIAN)
        assert not v[28 + 8 * len(near) :].any()


def test_whoever_drives_on_along_the_route_gets_somewhere_and_whoever_runs_red_is_told() -> None:
    world = make(ROADS, 64, agents=2, walkers=0, seed=2)
    red = np.zeros(64, np.bool_)
    entered = np.zeros(64, np.bool_)
    before = world.state.lane[:, 0].copy()
    arrived = np.zeros(64, np.bool_)
    off = np.zeros(64, np.bool_)
    for _ in range(380):
        out = world.step(follow(world, 7.0))
        lane = world.state.lane[:, 0]
        new = (world.tables.lane_n[lane, JUNCTION] >= 0) & (lane != before)
        entered |= new & (world.tables.lane_n[lane, CONTROL] == Control.SIGNAL)
        red |= out.ran_red[:, 0]
        arrived |= out.arrived[:, 0]
        off |= out.off_road[:, 0] & ~arrived
        before = lane.copy()
    assert entered.sum() > 12
    assert 0.25 < red.sum() / entered.sum() < 0.85  # a signal is green for 14 s of 38
    assert arrived.mean() > 0.6
    assert off.mean() < 0.2  # a signal's pole or a parked car stops nobody here, only the road's edge counts


def test_leaving_the_road_and_hitting_a_house_are_told() -> None:
    world = make("town(seed=1, blocks=1)", 6, agents=1, walkers=0, seed=1)
    off, hit, fault = (np.zeros(6, np.bool_) for _ in range(3))
    for _ in range(200):
        out = world.step(np.tile(np.array([1.5, -0.12], np.float32), (6, 1, 1)))
        off |= out.off_road[:, 0]
        hit |= out.hit[:, 0]
        fault |= out.fault[:, 0]
    assert off.all()
    assert hit.sum() >= 2
    np.testing.assert_array_equal(hit, fault)


def test_the_scene_holds_agents_and_what_stands_nearest() -> None:
    world = worlds()
    scene = world.scene(40)
    state = world.state
    np.testing.assert_array_equal(scene.x_m[:, :10], state.x_m)
    np.testing.assert_array_equal(scene.alive[:, :10], state.alive != 0)
    boxes = world.maps[0].boxes
    for i in range(4):
        x, y = state.x_m[i, 0], state.y_m[i, 0]
        away = [math.hypot(b.x_m - x, b.y_m - y) - max(b.length_m, b.width_m) / 2 for b in boxes]
        nearest = np.argsort(away, kind="stable")[:30]
        assert set(scene.instance[i, 10:]) == {11 + int(k) for k in nearest}
    heads = scene.kind == Class.SIGNAL
    assert heads.any()
    assert {tuple(t) for t in scene.tint[heads]} <= {(40, 255, 60), (255, 200, 30), (255, 40, 30)}
    with pytest.raises(InputError, match="must hold all 10 agents"):
        world.scene(5)


@pytest.mark.parametrize("actions", ["continuous", "discrete", "waypoints"])
def test_the_environment_passes_gymnasiums_own_checker(actions: str) -> None:
    check_env(DriveEnv(ROADS, actions=actions, agents=6, walkers=1), skip_render_check=True)  # type: ignore[arg-type]


def test_many_environments_restart_by_themselves_and_meta_actions_drive() -> None:
    many = DriveVectorEnv("rural(seed=1)", 8, actions="discrete", seconds=6.0, agents=3, walkers=0, seed=1)
    seen, _ = many.reset(seed=4)
    assert seen.shape == many.observation_space.shape
    again, _ = many.reset(seed=4)
    np.testing.assert_array_equal(seen, again)
    ended = np.zeros(8, np.int64)
    total = np.zeros(8)
    for k in range(130):
        _, reward, done, cut, facts = many.step(np.full(8, 1 if k % 20 == 0 else 0))
        ended += done | cut
        total += reward
        assert set(facts) >= {"collision", "progress_m"}
    assert (ended >= 1).all()
    assert np.median(total) > 8  # over 12 s at 15 m/s and more
    assert many.world.tables.lane_f[0, LANE_M] > 500


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: make("toun()"), "Did you mean 'town'"),
        (lambda: make([]), "Got none"),
        (lambda: make(ROADS, 0), r"make\(worlds=...\) must be an integer"),
        (lambda: make(ROADS, agents=4, walkers=4), r"walkers=...\) must be an integer from 0 to 3"),
        (lambda: make(ROADS, surface="mud"), "must be one of dry"),  # type: ignore[arg-type]
        (lambda: make(ROADS, dt_s=2.0), r"dt_s=...\) must lie in"),
        (lambda: worlds().step(np.zeros((4, 2))), r"controls must be of \(4, 1, 2\)"),
        (lambda: worlds().step(np.full((4, 1, 2), np.nan)), "must be finite. Got nan at"),
        (lambda: worlds().reset(np.zeros(3)), "mask must be bool"),
        (lambda: DriveVectorEnv(ROADS, 2, actions="jump"), "actions must be one of"),  # type: ignore[arg-type]
    ],
)
def test_wrong_input_is_refused_in_one_line(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_baselines_drive_and_the_expert_stops_at_red() -> None:
    world = make(ROADS, 32, agents=6, walkers=0, traffic="timid", seed=4)
    driver = Baseline(world, "expert")
    red, fault, off, way = 0, np.zeros(32, np.bool_), np.zeros(32, np.bool_), np.zeros(32)
    arrived = np.zeros(32, np.bool_)
    seen = world.observe()[:, 0]
    # Placed so near to the line that it cannot stop before it at 3 m/s².
    late = (seen[:, 22] > 3) & (seen[:, 22] - 3 < seen[:, 0] ** 2 / (2 * 3.0))
    assert late.sum() <= 3
    for _ in range(300):
        out = world.step(driver())
        red += int((out.ran_red[:, 0] & ~arrived & ~late).sum())
        fault |= out.fault[:, 0] & ~arrived
        off |= out.off_road[:, 0] & ~arrived
        way += out.progress_m[:, 0]
        arrived |= out.arrived[:, 0]
    assert red == 0
    assert fault.sum() == 0
    assert off.sum() == 0
    assert np.median(way) > 40
    with pytest.raises(InputError, match="must be one of lane, brake, expert"):
        Baseline(world, "best")  # type: ignore[arg-type]

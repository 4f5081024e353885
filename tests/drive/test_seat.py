"""Learned drivers: what a seat tells and does, drives on many maps as a problem, policies that drive, and the guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stalwart
from stalwart.core import catalog
from stalwart.core.errors import CheckpointError, InputError, SpellingError
from stalwart.drive import make, score
from stalwart.drive.observation import SCALE
from stalwart.drive.planners.expert import Expert
from stalwart.drive.planners.named import maker_of
from stalwart.drive.planners.seat import MOST_MPS2, TOLD, Adviser, Seat
from stalwart.drive.traffic.following import idm
from stalwart.run.learn import Practice, learn

SMALL = "journeys(families=('crossroads',), maps=1, seconds=4.0)"


@pytest.fixture(scope="module")
def motorway() -> Any:
    """Two drivers in each of six dense worlds, after six seconds."""
    world = make("motorway(seed=2)", 6, agents=36, walkers=0, egos=2, seed=5)
    expert = Expert(world)
    for _ in range(60):
        world.step(expert())
    return world


def test_a_seat_tells_the_vector_and_how_hard_to_brake_for_whom(motorway: Any) -> None:
    told = Seat(motorway).look()
    assert told.shape == (6, 2, TOLD)
    seen = motorway.observe()
    np.testing.assert_allclose(told[..., :92], np.clip(seen / SCALE, -10, 10), rtol=1e-6)
    for place in np.ndindex(6, 2):
        row, speed = told[place], float(seen[place][0])
        gap, theirs = row[92] * 50, row[93] * 15
        if not 0.5 < gap < 190:
            continue
        desired = min(  # from which all speeds to be driven ahead are reached at 1.2 m/s²
            np.sqrt(min(float(seen[place][9 + 3 * k]), float(seen[place][6])) ** 2 + 2.4 * ahead)
            for k, ahead in enumerate((0, 5, 10, 20, 40))
        )
        wish = idm.py_func if hasattr(idm, "py_func") else idm
        right = wish(*(float(v) for v in (speed, desired, gap, theirs, 1.5, 1.5, 2.0, 2.5)))
        assert 5 * row[102] == pytest.approx(right, abs=0.02)


def test_a_seat_tells_who_is_ahead_and_behind_in_the_lane_to_be_in(motorway: Any) -> None:
    """Against brute force over all bodies, for drivers set down beside their route, on a straight stretch."""
    s, found = motorway.state, 0
    route, at = s.route.copy(), s.route_at.copy()
    tables = motorway.tables
    from stalwart.drive.geometry.tables import LEFT, RIGHT, pose_at

    for w, e in np.ndindex(6, 2):
        here = int(s.lane[w, e])
        beside = max(int(tables.lane_n[here, LEFT]), int(tables.lane_n[here, RIGHT]))
        if beside < 0:
            continue
        s.route[w, e], s.route_at[w, e], s.route_s_m[w, e] = -1, 0, s.s_m[w, e]
        s.route[w, e, 0] = beside
        x, y, c, n, _, _ = (float(v) for v in pose_at(tables, beside, s.s_m[w, e]))
        s.route_d_m[w, e] = -(s.x_m[w, e] - x) * n + (s.y_m[w, e] - y) * c
    told = Seat(motorway).look()[..., 105:]
    seen = motorway.observe()
    for w, e in np.ndindex(6, 2):
        if not told[w, e, 0]:
            continue
        half, yaw = float(seen[w, e, 5]), float(s.yaw_rad[w, e] - seen[w, e, 4])
        c, n = np.cos(yaw), np.sin(yaw)
        best = {1: (80.0, 0.0), -1: (80.0, 0.0)}
        order = np.argsort(np.hypot(s.x_m[w] - s.x_m[w, e], s.y_m[w] - s.y_m[w, e]) + 1e6 * (s.alive[w] == 0))
        for j in order[1:9]:  # the eight nearest
            dx, dy = float(s.x_m[w, j] - s.x_m[w, e]), float(s.y_m[w, j] - s.y_m[w, e])
            if np.hypot(dx, dy) >= 60 or abs(-dx * n + dy * c + float(s.route_d_m[w, e])) >= half:
                continue
            ahead = dx * c + dy * n
            gap = abs(ahead) - float(s.length_m[w, j] + 4.6) / 2
            faster = float(s.speed_mps[w, e] - s.speed_mps[w, j] * np.cos(s.yaw_rad[w, j] - s.yaw_rad[w, e]))
            side = 1 if ahead >= 0 else -1
            if gap < best[side][0]:
                best[side] = gap, side * faster
                found += 1
        for side, k in ((1, 1), (-1, 3)):
            assert 20 * told[w, e, k] == pytest.approx(best[side][0], abs=0.3)
            assert 10 * told[w, e, k + 1] == pytest.approx(best[side][1], abs=0.1)
    s.route[:], s.route_at[:] = route, at
    assert found > 3


def test_who_follows_the_adviser_in_a_seat_drives_as_the_expert(motorway: Any) -> None:
    seat, adviser, expert = Seat(motorway), Adviser(motorway), Expert(motorway)
    for _ in range(20):
        seat.look()
        right, mine = expert(), seat.controls(adviser())
        np.testing.assert_allclose(mine[..., 1], right[..., 1], atol=1e-5)
        np.testing.assert_allclose(mine[..., 0], np.clip(right[..., 0], -9, MOST_MPS2), atol=1e-4)
        motorway.step(mine)


def test_journeys_are_rewarded_as_said_and_begin_anew() -> None:
    env = catalog.make("journeys(families=('crossroads', 'rural'), maps=1, seconds=3.0)", "worlds").build(48)
    first, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    other, _ = env.reset(seed=4)
    assert not np.array_equal(first, other)
    assert {world.maps[0].name.split("(")[0] for world in env.worlds} == {"crossroads", "rural"}
    random, fresh, crashed = np.random.default_rng(0), np.zeros(48, np.bool_), 0
    for _ in range(35):
        accel_of = [world.state for world in env.worlds]
        seen, reward, ended, cut, facts = env.step(random.uniform(-0.2, 1, (48, 2)).astype(np.float32))
        assert env.observation_space.contains(seen)
        accel = np.concatenate([state.accel_mps2[:, 0] for state in accel_of])
        bad = facts["collision"] | facts["off_road"]
        right = (
            0.1 * facts["progress_m"] - 5.0 * bad - 15.0 * facts["at_fault"]
            - 5.0 * (facts["ran_red"] | facts["ran_stop"]) - 0.5 * facts["wrong_way"] - 0.002 * accel**2
        )  # fmt: skip
        np.testing.assert_allclose(reward[~fresh], right[~fresh], atol=1e-4)
        assert (reward[fresh] == 0).all()
        assert not (ended | cut)[fresh].any()
        assert (ended[~fresh] == (bad | facts["arrived"])[~fresh]).all()
        fresh = ended | cut
        crashed += int((bad & ended).sum())
    assert crashed > 0
    test = catalog.make(SMALL.replace("maps=1", "maps=1, split='test'"), "worlds").build(8)
    assert [world.maps[0].name for world in test.worlds] != [world.maps[0].name for world in env.worlds[:1]]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    how = Practice(steps=16 * 40 * 4, worlds=16, chapters=1, episodes=8)
    list(learn(SMALL, "imitate(horizon=40, updates=300, widths=(32,))", settings=how, out=out))
    return out


def test_a_policy_that_was_taught_drives_where_it_is_spelled(taught: Path) -> None:
    suite = "free(roads='crossroads', worlds=4, maps=1, seconds=12)"
    result = next(e.values for e in score(str(taught), suite) if e.kind == "result")
    still = next(e.values for e in score("constant(accel_mps2=-9.0)", suite) if e.kind == "result")
    assert result["driver"] == str(taught)
    assert result["all"]["mean_completion"] > 0.4 + still["all"]["mean_completion"]
    world = make("crossroads(seed=1)", 3, agents=6, walkers=0)
    driver, seat, policy = maker_of(str(taught))(world), Seat(world), stalwart.load(taught)
    with torch.no_grad():
        action = policy(torch.from_numpy(seat.look()[:, 0])).clamp(-1, 1).numpy()
    np.testing.assert_allclose(driver(), seat.controls(action[:, None]), atol=1e-5)


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_a_policy_drives_as_it_did_where_it_was_trained(actions: str, tmp_path: Path) -> None:
    spelled = f"driving(roads=rural(seed=1), actions={actions!r}, agents=6, walkers=0)"
    how = Practice(steps=256, worlds=8, chapters=1, episodes=1)
    list(learn(spelled, "ppo(horizon=32, batch=128, lr=0.01)", settings=how, out=tmp_path / "run"))
    env, world = catalog.make(spelled, "worlds").build(4), make("rural(seed=1)", 4, agents=6, walkers=0, seed=2)
    policy, driver = stalwart.load(tmp_path / "run"), maker_of(str(tmp_path / "run"))(world)
    seen, _ = env.reset(seed=2)
    for _ in range(10):
        with torch.no_grad():
            action, _ = policy.act(torch.from_numpy(seen))  # type: ignore[operator]
        seen, *_ = env.step(action.numpy())
        world.step(driver())
        np.testing.assert_array_equal(world.state.x_m, env.world.state.x_m)
    assert (world.state.driven_m[:, 0] > 1).any()


def test_what_cannot_drive_is_refused(taught: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        maker_of(str(tmp_path / "nothing"))
    how = Practice(steps=64, worlds=2, chapters=1, episodes=1)
    list(learn("CartPole-v1", "ppo(horizon=32, batch=32)", settings=how, out=tmp_path / "cart"))
    with pytest.raises(InputError, match="was not trained to drive: its card names the world 'CartPole-v1'"):
        maker_of(str(tmp_path / "cart"))
    with pytest.raises(SpellingError, match="guard takes another driver"):
        maker_of("guard(2)")


def test_a_guard_brakes_before_who_stands_and_else_leaves_the_driver_alone() -> None:
    suite = "stopped_vehicle()"
    reckless, guarded = (
        next(e.values for e in score(driver, suite) if e.kind == "result")
        for driver in ("constant(accel_mps2=0.5)", "guard('constant(accel_mps2=0.5)')")
    )
    assert reckless["all"]["at_fault_collisions"] > 3 * guarded["all"]["at_fault_collisions"]
    world = make("rural(seed=1)", 4, agents=1, walkers=0)
    alone, under = maker_of("lane")(world), maker_of("guard('lane')")(world)
    for _ in range(20):
        np.testing.assert_array_equal(alone(), under())
        world.step(alone())

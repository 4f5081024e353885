"""Drivers through suites: who does nothing, who crashes and who drives well get what they deserve, and it replays."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from stalwart.core.errors import ContractError, InputError
from stalwart.drive import replay, score
from stalwart.drive.planners.named import Constant
from stalwart.drive.planners.rss import proper_brake, rss_distance_on, rss_lateral_distance, rss_opposite_distance
from stalwart.drive.scenarios.stage import put, swept, worlds_of
from stalwart.drive.scene import Class
from stalwart.drive.scores.beside import beside
from stalwart.drive.scores.foreseen import least_times
from stalwart.drive.scores.safety import poisson_interval
from stalwart.drive.simulation import Worlds
from stalwart.run.drive_score import drive_score

SHORT = "free(roads='rural', worlds=4, maps=1, seconds=8)"


def result_of(driver: Any, suite: Any, seed: int = 0) -> dict[str, Any]:
    events = list(score(driver, suite, seed=seed))
    assert [e.kind for e in events[:2]] == ["start", "progress"]
    assert events[-1].kind == "result"
    return dict(events[-1].values)


def idle(world: Worlds) -> Any:
    """Brakes and stands."""
    return lambda: np.tile(np.array([-3.0, 0.0], np.float32), (world.worlds, world.egos, 1))


def bolting(world: Worlds) -> Any:
    """Full throttle, straight on."""
    return lambda: np.tile(np.array([3.5, 0.0], np.float32), (world.worlds, world.egos, 1))


def test_who_stands_does_no_harm_and_gets_nowhere() -> None:
    result = result_of(idle, SHORT)
    every = result["all"]
    assert every["timeouts"] == 1.0
    assert every["at_fault_collisions"] == 0
    assert 0 < every["mean_completion"] < 0.6
    assert every["clean"] == 0.0
    assert len(result["failures"]) == 4
    assert all("goal not reached" in f["why"][-1] for f in result["failures"] if "collision" not in f["why"][0])


def test_drivers_are_named_as_everywhere_and_the_light_stands_in_the_spelling() -> None:
    asked = {"accel_mps2": -3.0}
    named = list(score("constant(accel_mps2=-3.0)", SHORT, style="fog"))[-1].values
    bare = result_of(lambda world: Constant(world, **asked), SHORT)
    assert named["all"] == bare["all"]
    assert all("style='fog'" in spelled for spelled in named["scenarios"])
    with pytest.raises(InputError, match=r"style.*'nigth'"):
        list(score("lane", SHORT, style="nigth"))


def test_who_bolts_leaves_the_road_and_the_lane_keeper_does_not() -> None:
    wild = result_of(bolting, "free(roads='crossroads', worlds=8, maps=2, seconds=25)")
    assert wild["all"]["collisions"] >= 1
    assert len(wild["failures"]) >= 2
    assert wild["all"]["mean_carla"] < 0.9
    tame = result_of("lane", SHORT)
    assert tame["all"]["clean"] == 1.0
    assert tame["all"]["mean_carla"] == 1.0
    json.dumps(tame, allow_nan=False)
    km = sum(e["way_m"] for e in wild["episodes"]) / 1000
    count = sum(e["collision"] is not None for e in wild["episodes"])
    assert wild["all"]["collisions_per_1000km"] == pytest.approx(1000 * count / km)
    assert wild["all"]["collisions_per_1000km_95"] == pytest.approx([1000 * k for k in poisson_interval(count, km)])


def test_the_same_seed_gives_the_same_drives_and_a_failure_replays() -> None:
    suite = "free(roads='crossroads', worlds=8, maps=2, seconds=25)"
    one, other = result_of(bolting, suite), result_of(bolting, [suite])
    assert one["episodes"] == other["episodes"]
    assert one["episodes"] != result_of(bolting, suite, seed=1)["episodes"]
    failure = next(f for f in one["failures"] if "collision" in f["why"][0])
    ticks = round(one["episodes"][failure["world"]]["seconds"] / 0.1)
    for tick, world in enumerate(replay(bolting, failure["scenario"], split=failure["split"], seed=failure["seed"])):
        if tick == ticks - 1:
            assert world.state.hit[failure["world"], 0] >= 0
            break
        assert world.state.hit[failure["world"], 0] < 0


def test_maps_of_tests_are_never_those_of_training() -> None:
    train, test = ({e["variant"]["map"] for e in list(score(idle, SHORT, split=s))[-1].values["episodes"]}
                   for s in ("train", "test"))  # fmt: skip
    assert not train & test


def test_sweeps_are_grids_or_draws() -> None:
    axes = {"a": (1.0, 2.0), "b": (5.0, 7.0, 9.0)}
    grid = swept(axes, 0, 0)
    assert len(grid) == 6
    assert grid[1] == {"a": 1.0, "b": 7.0}
    drawn = swept(axes, 40, 3)
    assert drawn == swept(axes, 40, 3) != swept(axes, 40, 4)
    assert all(1 <= v["a"] <= 2 and 5 <= v["b"] <= 9 for v in drawn)
    assert len({v["a"] for v in drawn}) == 40
    with pytest.raises(InputError, match="b needs at least one value"):
        swept({"a": (1.0,), "b": ()}, 0, 0)


def test_whoever_is_put_somewhere_is_there_and_times_to_collision_are_those_of_arithmetic() -> None:
    world, variants = worlds_of(["rural(seed=1)"], [{"gap": 20.0}, {"gap": 50.0}, {"gap": 12.0}], 0, actors=1)
    for w, variant in enumerate(variants):
        put(world, w, 0, 0, 20.0, 20.0)
        put(world, w, 1, 0, 20.0 + float(variant["gap"]) + 4.6, 8.0, kind=Class.VAN if w == 2 else Class.CAR)
    s = world.state
    x, y, yaw, _ = world.maps[0].lanes[0].line.poses(20.0)[0]
    assert (s.x_m[0, 0], s.y_m[0, 0], s.yaw_rad[0, 0]) == pytest.approx((x, y, yaw), abs=1e-4)
    out = np.zeros((3, 2), np.float32)
    least_times(s.floats, s.ints, out)
    assert out[0, 0] == pytest.approx(1.7, abs=0.051)  # 20 m at 12 m/s
    assert math.isinf(out[1, 0])  # 4.2 s
    assert out[2, 0] == pytest.approx(11.5 / 12, abs=0.08)  # a van is a metre longer
    assert np.isinf(out[:, 1]).all()  # those ahead run into nobody
    world.step(np.zeros((3, 2, 2)))
    assert s.driven_m[:, 0] == pytest.approx([2.0] * 3, abs=0.01)


def test_rss_distances_suffice_when_both_do_their_worst() -> None:
    """Towards each other, and across the road: by small steps, as the definitions tell it."""
    dt = 1e-3
    for one, other in ((10.0, 15.0), (0.0, 20.0)):
        met, v, w = float(rss_opposite_distance(one, other)), one, other
        for k in range(20000):
            v = v + dt * 2.0 if k * dt < 0.5 else max(v - dt * 2.0, 0.0)
            w = w + dt * 2.0 if k * dt < 0.5 else max(w - dt * 4.0, 0.0)
            met -= dt * (v + w)
        assert met == pytest.approx(0.0, abs=0.05)
    for left, right in ((1.0, -0.5), (0.4, 0.0), (0.0, 0.0)):
        gap, v, w = float(rss_lateral_distance(left, right)), left, right
        for k in range(10000):
            v = v + dt * 0.2 if k * dt < 0.5 else max(v - dt * 0.8, 0.0)
            w = w - dt * 0.2 if k * dt < 0.5 else min(w + dt * 0.8, 0.0)
            gap += dt * (w - v)
        assert gap == pytest.approx(0.1, abs=0.01)
    assert rss_lateral_distance(-1.0, 1.0) == 0.1  # going apart


@pytest.mark.parametrize("grip", [1.18, 2.9, 8.3])
def test_rss_distance_suffices_on_any_surface(grip: float) -> None:
    """By small steps: who is ahead brakes as hard as it can, who is behind late and with what is asked of it."""
    rear, front, dt = 20.0, 18.0, 1e-3
    gap, asked = float(rss_distance_on(np.array(grip), rear, front)), float(proper_brake(np.array(grip)))
    assert asked < grip
    for k in range(30000):
        rear = rear + dt * 2.0 if k * dt < 0.5 else max(rear - dt * asked, 0.0)
        front = max(front - dt * min(8.0, grip), 0.0)
        gap += dt * (front - rear)
    assert gap == pytest.approx(0.0, abs=0.1)


def test_the_expert_keeps_its_distance_on_ice() -> None:
    found = list(score("expert", "lead_braking(speed_kmh=(80,), headway_s=(1.5,))", surface="ice"))[-1].values
    assert found["all"]["clean"] == 1.0
    assert found["all"]["rss_violations"] == 0
    with pytest.raises(InputError, match="surface"):
        list(score("expert", "lead_braking()", surface="mud"))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: score("best"), InputError, "driver must be one of lane, brake, expert"),
        (lambda: score("lane", "fre"), InputError, "Did you mean 'free'"),
        (lambda: score("lane", []), InputError, "Got none"),
        (lambda: score("lane", SHORT, split="val"), InputError, "split=...\\) must be one of train, test"),
        (lambda: list(score(lambda w: lambda: np.zeros((1, 2)), SHORT)), ContractError, r"\(4, 1, 2\). Got \(1, 2\)"),
        (lambda: list(score(lambda w: lambda: np.full((4, 1, 2), np.nan), SHORT)), ContractError, "infinity or NaN"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_one_line(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_two_drivers_are_compared_drive_by_drive_and_only_on_the_same_drives() -> None:
    def drive(world: int, carla: float, failures: list[str], name: str = "a") -> dict[str, Any]:
        figures = {"carla": carla, "nuplan": 1.0, "completion": carla, "failures": failures}
        return {"scenario": "free()", "world": world, "variant": {"map": name}, **figures}

    one = [drive(0, 1.0, []), drive(1, 0.5, ["red light"], "b"), drive(2, 1.0, [])]
    other = [drive(0, 0.4, ["collision with car"]), drive(1, 0.6, [], "b"), drive(2, 1.0, [])]
    found = beside(one, other)
    assert found["carla"]["difference"] == pytest.approx(0.5 / 3)
    assert (found["carla"]["better"], found["carla"]["worse"], found["carla"]["p"]) == (1, 1, 1.0)
    assert found["carla"]["difference_95"] == pytest.approx([-0.1, 0.6])
    assert found["carla"]["difference_95_by_map"] == pytest.approx([-0.1, 0.3])
    assert (found["clean"]["difference"], found["nuplan"]["difference"]) == (0.0, 0.0)
    back = beside(other, one)["carla"]
    assert back["difference_95"] == pytest.approx([-0.6, 0.1])
    with pytest.raises(ValueError, match="same scenarios"):
        beside(one, other[:2])


def test_others_drive_the_same_drives_in_one_score() -> None:
    events = list(drive_score("lane", SHORT, others=("constant(accel_mps2=-3.0)", "lane")))
    result = events[-1].values
    assert events[0].values["total"] == 3
    assert [e.values["done"] for e in events if e.kind == "progress" and e.values["step"] == 0] == [0, 1, 2]
    stands, itself = result["beside"]
    assert stands["all"] == result_of("constant(accel_mps2=-3.0)", SHORT)["all"]
    assert stands["above"]["carla"]["difference"] == pytest.approx(
        result["all"]["mean_carla"] - stands["all"]["mean_carla"]
    )
    assert stands["above"]["carla"]["better"] == 4
    assert itself["above"]["carla"]["difference_95"] == [0.0, 0.0]
    with pytest.raises(InputError, match="'brakes'"):
        list(drive_score("lane", SHORT, others=("brakes",)))

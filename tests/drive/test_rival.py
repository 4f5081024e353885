"""Drivers that a search finds: what it saves crashes the driver and spares the reference, and it beats blind search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.drive import score
from stalwart.drive.adversaries.traffic import _alone, _danger, _unlike, search
from stalwart.drive.scenarios.plan import PLAN
from stalwart.drive.scores.suite import drive
from stalwart.drive.simulation import Worlds

CUTS_IN = (0.0, 12.0, -4.0, 1.0, 2.0, 0.5, 9.0, 0.0)


def coasting(world: Worlds) -> Any:
    """Keeps its lane at the speed it has, whoever comes."""
    start = world.state.speed_mps[:, 0].copy()

    def controls() -> np.ndarray:
        seen = world.observe()
        x, y = seen[..., 13], seen[..., 14]
        steer = np.arctan(2 * y / np.maximum(x * x + y * y, 4.0) * 2.75)
        return np.stack([np.clip(start[:, None] - seen[..., 0], -4, 2), steer], -1)

    return controls


def test_a_plan_is_driven_as_it_says() -> None:
    plans = (CUTS_IN, (2.0, -10.0, 5.0, 8.0, 2.0, 0.0, 2.0, -20.0), (1.0, 30.0, 0.0, 8.0, 2.0, 0.0, 2.0, -30.0))
    stage = catalog.make(f"rival(plans={plans})", "scenarios").stage("train", 0)
    s, own = stage.world.state, 25.0
    assert s.speed_mps[:, 1] == pytest.approx([own - 4, own + 5, own])
    away = np.hypot(s.x_m[:, 1] - s.x_m[:, 0], s.y_m[:, 1] - s.y_m[:, 0])
    assert away == pytest.approx(np.hypot([12, 10, 30], [3.6, 3.6, 0]), abs=0.3)
    for tick, world in enumerate(drive(stage, coasting(stage.world))):
        if tick == 35:  # moved over, and not yet run into
            assert abs(float(world.state.route_d_m[0, 1]) + 1.8) < 0.5
        if tick == 60:
            assert world.state.speed_mps[1, 1] < own + 5 - 15
            assert world.state.speed_mps[2, 1] < own - 15  # a plan beyond its range is cut to it
            return


def test_a_search_finds_what_crashes_the_driver_alone() -> None:
    events = list(search(coasting, rounds=3, plans=24, suite=4, maps=1, seed=1))
    found = dict(events[-1].values)
    first, last = found["rounds"][0], found["rounds"][-1]
    assert first["n"] == last["n"] == 24
    assert last["alone"][0] > first["alone"][0]
    assert 1 <= len(found["found"]) <= 4
    for driver, crashes in ((coasting, True), ("expert", False)):
        (again,) = (e.values for e in score(driver, found["found"], split="train", seed=1) if e.kind == "result")
        assert all((e["collision"] is not None) == crashes for e in again["episodes"])
    assert found["again"]["n"] == len(found["found"])
    progress = [e.values for e in events if e.kind == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 72


def test_danger_and_who_is_spared() -> None:
    rows = [{"collision": c, "least_ttc_s": t} for c, t in (("car", None), (None, None), (None, 1.5), (None, 9.0))]
    assert [_danger(row) for row in rows] == pytest.approx([1, 0, 0.45, 0])
    assert _alone(rows, rows[::-1]).tolist() == [True, False, False, False]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12), st.integers(1, 12))
def test_kept_plans_are_some_of_those_found(points: list[tuple[float, float]], most: int) -> None:
    chosen = _unlike(np.array(points), most)
    assert len(chosen) == min(most, len(points))
    assert chosen == sorted(chosen)
    if len(set(points)) >= most:
        assert len({points[k] for k in chosen}) == most


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: search("lane", rounds=0), r"search\(rounds=...\) must be an integer from 1"),
        (lambda: search("lane", plans=2), r"search\(plans=...\) must be an integer from 8"),
        (lambda: search("lane", elite=0.9), r"search\(elite=...\) must lie in"),
        (lambda: list(search("lain", rounds=1, plans=8)), "Did you mean 'lane'"),
        (lambda: catalog.make("rival(plans=())", "scenarios").stage("test", 0), "must hold 1 to"),
        (lambda: catalog.make("rival(plans=((1.0, 2.0),))", "scenarios").stage("test", 0), "a plan holds 8 finite"),
    ],
)
def test_wrong_input_is_refused_in_one_line(wrong: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)
    assert len(PLAN) == 8

"""Timing signals: what the world's signals show after each decision, what is counted, and that a choice matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.drive.traffic.yielding import GREEN, RED, signal_state
from stalwart.worlds.signals import fixed_time, max_pressure


def shown(worlds: Any, n: int) -> tuple[int, int]:
    """The states of a world's two signals, by the function that traffic itself asks."""
    now = float(worlds._now()[n])
    return tuple(int(signal_state(worlds.world.tables, 2 * n + k, now)) for k in (0, 1))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def worlds() -> Any:
    return catalog.make("signals(seconds=64.0)", "worlds").build(2)


def test_each_worlds_signals_are_its_own_and_never_both_green(worlds: Any) -> None:
    worlds.reset(seed=3)
    assert shown(worlds, 0) == shown(worlds, 1) == (GREEN, RED)
    seen, _, _, _, _ = worlds.step(np.array([1, 0]))
    assert shown(worlds, 0) == (RED, GREEN)
    assert shown(worlds, 1) == (GREEN, RED)
    np.testing.assert_allclose(seen[:, -3:], [[0, 1, 3 / 30], [1, 0, 8 / 30]], atol=1e-5)  # 8 s less 3 and 2
    worlds.step(np.array([1, 1]))
    worlds.step(np.array([0, 1]))
    assert shown(worlds, 0) == (GREEN, RED)
    assert shown(worlds, 1) == (RED, GREEN)


def test_an_episode_is_cut_off_begins_anew_and_is_the_same_for_the_same_seed(worlds: Any) -> None:
    stories = []
    for _ in range(2):
        story = [worlds.reset(seed=5)[0]]
        for k in range(9):
            seen, reward, ended, cut, facts = worlds.step(np.full(2, k // 3 % 2))
            assert not ended.any()
            assert cut.all() == (k == 7)
            story += [seen, reward]
            if k < 8:
                np.testing.assert_allclose(reward, -facts["waited_s"] / 10)
        assert (reward == 0).all()
        assert shown(worlds, 0) == (GREEN, RED)
        stories.append(story)
    assert all(np.array_equal(a, b) for a, b in zip(*stories, strict=True))


def test_who_never_gets_green_waits(worlds: Any) -> None:
    worlds.reset(seed=7)
    for _ in range(7):
        seen, _, _, _, facts = worlds.step(np.zeros(2, np.int64))
    lanes = len(worlds.street)
    queue = seen[:, :lanes]
    assert (queue[:, worlds.street == 1].sum(1) > queue[:, worlds.street == 0].sum(1)).all()
    assert (facts["waited_s"] > 0).all()


def test_a_shifting_demand_does_not_yield_and_whom_there_is_no_room_for_waits() -> None:
    worlds = catalog.make("signals(demand='shifting', seconds=96.0, flow=6000.0, agents=60)", "worlds").build(3)
    lanes, stories = len(worlds.street), []
    for choose in (lambda k: k // 2 % 2, lambda k: 0):
        seen, _ = worlds.reset(seed=11)
        assert (seen[:, : 2 * lanes] == 0).all()
        assert (worlds.world.state.alive == 0).all()
        came, waited = np.zeros((2, 3))
        for k in range(12):
            before = worlds.held.sum(1)
            seen, _, _, cut, facts = worlds.step(np.full(3, choose(k)))
            came += facts["came"]
            waited += facts["waited_s"]
            assert (facts["waited_s"] >= np.minimum(before, worlds.held.sum(1))).all()
            assert (np.rint(seen[:, :lanes] * 10) >= worlds.held).all()
        assert cut.all()
        assert (worlds.held.sum(1) > 0).all()
        assert ((worlds.world.state.alive != 0).sum(1) <= 60).all()
        stories.append((came, waited))
        worlds.step(np.zeros(3, np.int64))  # the next episode begins, as empty, and others come
        assert (worlds.held == 0).all()
        assert (worlds.world.state.alive == 0).all()
    assert np.array_equal(stories[0][0], stories[1][0])
    assert (stories[0][0] > 0).all()
    assert not np.array_equal(stories[0][1], stories[1][1])
    worlds._episode += 1
    assert not np.array_equal(worlds._due, np.stack([worlds._arrivals(n) for n in range(3)], 1))


def test_as_many_come_as_the_flow_says_and_the_streets_by_turns() -> None:
    """Of 400 worlds' episodes the mean is within four deviations of Poisson's; each world's streets swing apart."""
    worlds = catalog.make("signals(demand='shifting', flow=1800.0)", "worlds").build(1)
    worlds.reset(seed=0)
    due = np.stack([worlds._arrivals(n) for n in range(400)])
    assert due.shape == (400, 480, 6)
    assert abs(due.sum() / 400 - 240) < 4 * np.sqrt(240 / 400)
    first = due[:, :, worlds.street == 0].sum(2)
    apart = np.abs(np.fft.rfft(first, axis=1)[:, 1]) / 480  # half the swing: 0.5 vehicles a second · 0.35 / 2
    assert apart.mean() == pytest.approx(0.5 * 0.35 / 2, rel=0.1)


def test_max_pressure_changes_for_more_than_its_margin() -> None:
    street = np.array([0, 1])
    seen = np.array([[0.2, 0.5, 0, 0, 1, 0, 0], [0.2, 0.6, 0, 0, 1, 0, 0], [0.6, 0.2, 0, 0, 0, 1, 0]], np.float32)
    assert max_pressure(seen, street, 3).tolist() == [0, 1, 0]
    assert max_pressure(seen, street, 4).tolist() == [0, 0, 1]


def test_max_pressure_and_fixed_time_by_hand() -> None:
    street = np.array([0, 0, 1])
    seen = np.array(
        [
            [0.1, 0.0, 0.4, 0.1, 0.0, 0.0, 1, 0, 0.5],
            [0.3, 0.2, 0.4, 0, 0, 0, 0, 1, 0.5],
            [0.2, 0.1, 0.3, 0, 0, 0, 0, 1, 1],
        ],
        np.float32,
    )
    assert max_pressure(seen, street).tolist() == [1, 0, 1]  # 2 to 4; 5 to 4; 3 to 3 stays
    assert [fixed_time(2, 1, k) for k in range(6)] == [0, 0, 1, 0, 0, 1]


def test_a_map_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="one junction under signals"):
        catalog.make("signals(roads=crossroads(control='stop'))", "worlds").build(1)

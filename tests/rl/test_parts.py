"""Returns, replay, Adam, tables, worlds side by side: against definitions, brute force and peers."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import tiny
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.statistics import student
from stalwart.drive.env import DriveVectorEnv
from stalwart.mdp.evaluation import evaluate
from stalwart.mdp.flat import Flat
from stalwart.mdp.kernels import relu_of, tanh_of
from stalwart.mdp.open import open_worlds
from stalwart.mdp.policies import Normaliser, Policy
from stalwart.mdp.quick import heads_of
from stalwart.mdp.replay import Replay, SumTree
from stalwart.mdp.returns import advantages
from stalwart.mdp.side import SideBySide
from stalwart.mdp.spaces import Spaces
from stalwart.mdp.table import Table, TableWorlds


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), worlds=st.integers(1, 3), steps=st.integers(1, 12))
def test_advantages_are_the_sum_that_defines_them(seed: int, worlds: int, steps: int) -> None:
    random = np.random.default_rng(seed)
    reward = random.normal(size=(steps, worlds)).astype(np.float32)
    ended, cut = random.random((steps, worlds)) < 0.2, random.random((steps, worlds)) < 0.2
    cut &= ~ended
    values = random.normal(size=(steps + 1, worlds)).astype(np.float32)
    gamma, trace = 0.9, 0.8
    found = advantages(reward, ended, cut, values, gamma, trace)
    for n in range(worlds):
        for t in range(steps):
            total, factor = 0.0, 1.0
            for k in range(t, steps):
                worth = 0.0 if ended[k, n] else values[k + 1, n]
                total += factor * (reward[k, n] + gamma * worth - values[k, n])
                factor *= gamma * trace
                if ended[k, n] or cut[k, n]:
                    break
            assert found[t, n] == pytest.approx(total, abs=1e-4)


def filled(steps: int, capacity: int, alpha: float = 0.0, rows: int = 40, worlds: int = 2) -> tuple[Replay, list[Any]]:
    """A replay fed with episodes of 5 steps, by turns terminated and truncated, and what truly happened."""
    spaces = Spaces(1, False, 3)
    replay, story = Replay(capacity, worlds, spaces, steps, alpha), []
    tick = np.array([0, 2])[:worlds]
    fresh = np.zeros(worlds, np.bool_)
    for row in range(rows):
        seen = np.array([[100 * n + row] for n in range(worlds)], np.float32)
        reward = np.array([row + 0.5 * n for n in range(worlds)], np.float32)
        tick = np.where(fresh, 0, tick + 1)
        over = (tick >= 5) & ~fresh
        ended = over & ((row // 6) % 2 == 0)
        replay.add(seen, np.full(worlds, row % 3), reward, ended, over & ~ended, ~fresh)
        story.append((seen[:, 0], reward, ended, over & ~ended, ~fresh))
        fresh = over
    replay.close(np.array([[100 * n + rows] for n in range(worlds)], np.float32))
    return replay, story


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("capacity", [1000, 30])
def test_steps_drawn_are_the_returns_that_define_them(steps: int, alpha: float, capacity: int) -> None:
    replay, story = filled(steps, capacity, alpha)
    drawn = replay.draw(400, 0.9, np.random.default_rng(0))
    rows = set()
    for b in range(400):
        code = int(drawn.seen[b, 0])
        n, row = divmod(code, 100)
        rows.add(row)
        total, gamma, at, ended = 0.0, 1.0, row, False
        assert story[row][4][n], "a step that belongs to no episode"
        for _ in range(steps):
            _, reward, terminated, truncated, _ = story[at]
            total += gamma * reward[n]
            gamma *= 0.9
            ended = bool(terminated[n])
            at += 1
            if ended or truncated[n] or at == len(story):
                break
        assert float(drawn.reward[b]) == pytest.approx(total, rel=1e-5)
        assert int(drawn.ahead[b, 0]) == 100 * n + at
        assert float(drawn.discount[b]) == pytest.approx(0.0 if ended else gamma, rel=1e-5)
    kept = [r for r in range(40) if r > 40 + steps - replay.rows - 1]
    assert rows == {r for r in kept if story[r][4].any()}


def test_priorities_are_the_share_that_defines_them() -> None:
    replay, _ = filled(1, 1000, alpha=0.5)
    first = replay.draw(64, 0.9, np.random.default_rng(0))
    assert torch.allclose(first.weight, torch.ones(64))  # all are new, so all are alike
    places = np.unique(first.place)[:4]
    everything = np.arange(replay.rows * replay.worlds)
    replay.surprise(everything, np.zeros(len(everything), np.float32))
    assert replay.tree is not None
    replay.tree.put(everything, np.zeros(len(everything)))
    error = np.array([1.0, 4.0, 9.0, 16.0], np.float32)
    replay.surprise(places, error)
    drawn = replay.draw(60_000, 0.9, np.random.default_rng(1), beta=1.0)
    shares = np.array([(drawn.place == place).mean() for place in places])
    np.testing.assert_allclose(shares, np.array([1, 2, 3, 4]) / 10, atol=2e-3)  # |δ|^½, their sum 10
    weights = [float(drawn.weight[torch.from_numpy(drawn.place == place)][0]) for place in places]
    np.testing.assert_allclose(weights, [1, 1 / 2, 1 / 3, 1 / 4], rtol=1e-4)  # 1 / P over the greatest


@settings(max_examples=30, deadline=None)
@given(weights=st.lists(st.floats(0, 10), min_size=1, max_size=33).filter(lambda w: sum(w) > 0.1))
def test_a_sum_tree_draws_only_what_has_weight(weights: list[float]) -> None:
    tree = SumTree(len(weights))
    tree.put(np.arange(len(weights)), np.array(weights))
    assert tree.total() == pytest.approx(sum(weights))
    drawn = tree.draw(200, np.random.default_rng(0))
    assert all(weights[place] > 0 for place in drawn)


def test_adam_is_algorithm_1() -> None:
    """Against the paper's lines in float64, with the gradient's norm held at 0.5."""
    torch.manual_seed(0)
    net = torch.nn.Linear(5, 3)
    flat = Flat(net.parameters(), 0.01)
    theta = flat.weights.double().numpy().copy()
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, 21):
        x = torch.randn(7, 5)
        out = net(x).detach().double().numpy()
        slope = 2 * 30 * out / out.size  # of the loss below, by hand
        g = np.concatenate([(slope.T @ x.double().numpy()).ravel(), slope.sum(0)])
        flat.step((net(x) ** 2).mean() * 30, clip=0.5)
        g *= min(1.0, 0.5 / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(flat.weights.numpy(), theta, atol=2e-5)


def test_layers_bend_as_numpy_does() -> None:
    """tanh within 4e-7 of its size, in float64; what is no number stays none."""
    x, bias = np.concatenate([np.linspace(-12, 12, 30_001), np.logspace(-20, 0, 99)])[:, None], np.array([0.25, 0.0])
    wide = np.repeat(x, 2, 1).astype(np.float32)
    wanted = np.tanh(wide.astype(np.float64) + bias)
    found = wide.copy()
    tanh_of(found, bias.astype(np.float32))
    np.testing.assert_allclose(found, wanted, rtol=4e-7, atol=1e-7)
    np.testing.assert_allclose(found[:, 1], wanted[:, 1], rtol=4e-7)
    relu_of(wide, bias.astype(np.float32))
    np.testing.assert_allclose(wide, np.maximum(np.repeat(x, 2, 1) + bias, 0), rtol=1e-6, atol=1e-6)
    ends = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    tanh_of(ends, np.zeros(3, np.float32))
    np.testing.assert_allclose(ends, [[np.nan, 1.0, -1.0]], rtol=4e-7)


def test_the_normaliser_knows_the_moments_of_all_it_saw() -> None:
    norm, parts = Normaliser(3), [torch.randn(n, 3) * 4 + 7 for n in (1, 5, 100)]
    for part in parts:
        norm.learn(part)
    everything = torch.cat(parts)
    torch.testing.assert_close(norm.mean, everything.mean(0))
    torch.testing.assert_close(norm.square, everything.var(0, correction=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("duelling", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_the_quick_pass_is_the_policys_own(duelling: bool, states: bool) -> None:
    torch.manual_seed(1)
    policy = Policy(4, 3, "values", (8, 8), activation="relu", states=states, normalise=not states, duelling=duelling)
    seen = torch.randint(4, (6,)) if states else torch.randn(6, 4) * 3
    if policy.norm is not None:
        policy.norm.learn(seen + 1)
    quickly = heads_of(policy, 6)(seen.numpy())
    np.testing.assert_allclose(quickly, policy(seen).detach().numpy(), rtol=1e-4, atol=1e-5)
    policy.head.bias.data += 1.0
    np.testing.assert_allclose(heads_of(policy, 6)(seen.numpy()), policy(seen).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_worlds_side_by_side_are_gymnasiums() -> None:
    makers = [lambda: gymnasium.make("CartPole-v1", max_episode_steps=12)] * 3
    ours, theirs = SideBySide(makers), SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    random = np.random.default_rng(0)
    for _ in range(60):
        action = random.integers(2, size=3)
        for one, other in zip(ours.step(action)[:4], theirs.step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, other)
    ours.close()
    theirs.close()


def test_a_table_is_the_environment_itself() -> None:
    env = gymnasium.make("CliffWalking-v1")
    table = Table.of(env)
    worlds = TableWorlds(table, 2)
    seen, _ = worlds.reset(seed=0)
    one, _ = env.reset(seed=0)
    assert seen.tolist() == [one, one]
    for action in (0, 1, 1, 2, 0, 1):  # no chance in it
        after, reward, ended, _, _ = worlds.step(np.array([action, action]))
        one, gain, end, _, _ = env.step(action)
        assert (after[1], reward[1], bool(ended[1])) == (one, gain, end)
    np.testing.assert_allclose(table.chance.sum(2), 1.0)


def test_known_optima() -> None:
    """The figures that the textbook problems are known by."""
    for name, steps, wanted in (("FrozenLake-v1", 100, 0.7442), ("FrozenLake8x8-v1", 200, 0.9132)):
        assert catalog.make(f"table({name!r})", "worlds").table().within(steps) == pytest.approx(wanted, abs=2e-4)
    assert catalog.make("table('Taxi-v4')", "worlds").table().within(200) == pytest.approx(7.93, abs=5e-3)
    assert catalog.make("table('CliffWalking-v1')", "worlds").table().within(100) == pytest.approx(-13.0)


def test_value_iteration_solves_the_corridor() -> None:
    q = tiny.corridor().solve(discount=0.9)
    wanted = [1.0]  # at the right end, then 0.9 of what comes less the step's cost
    for _ in range(4):
        wanted.append(-0.1 + 0.9 * wanted[-1])
    np.testing.assert_allclose(q.max(1), wanted[::-1], atol=1e-8)
    assert q.argmax(1).tolist() == [1] * 5


def test_inventory_is_its_definition() -> None:
    table = catalog.make("inventory(capacity=3, largest=2, lead=1, demand=1.5, days=5)", "worlds").table()
    np.testing.assert_allclose(table.chance.sum(2), 1.0)
    random = np.random.default_rng(0)
    stock, under_way, order = 1, 2, 1
    costs, after = [], []
    for demand in random.poisson(1.5, 200_000):
        have = min(stock + under_way, 3)
        left = max(have - demand, 0)
        costs.append(1.0 + left + 5.0 * max(demand - have, 0))
        after.append(left)
    state = stock + 4 * under_way
    assert (table.chance * table.reward).sum(2)[state, order] == pytest.approx(-np.mean(costs), abs=0.02)
    for left in range(4):
        chance = table.chance[state, order][table.after[state, order] == left + 4 * order].sum()
        assert chance == pytest.approx(np.mean(np.array(after) == left), abs=0.005)


def test_evaluation_plays_each_worlds_share() -> None:
    policy = Policy(5, 2, "values", (), states=True)
    policy.head.weight.data.zero_()
    policy.head.bias.data[:] = torch.tensor([0.0, 1.0])  # always right
    *_, found = evaluate(policy, tiny.Corridor().build(3), 7, seed=0)
    assert found.lengths == [4] * 7
    np.testing.assert_allclose(found.returns, [0.7] * 7)
    figures = found.figures()
    assert figures["episodes"] == 7
    assert figures["interval"] == pytest.approx([0.7, 0.7])


def test_students_interval() -> None:
    mean, low, high = student([1.0, 2.0, 3.0])
    assert (mean, high - mean, mean - low) == pytest.approx((2.0, 4.302653 / 3**0.5, 4.302653 / 3**0.5), rel=1e-5)


def test_what_cannot_be_opened_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"there is no environment 'CartPol-v1'.*CartPole-v1"):
        open_worlds("CartPol-v1")
    with pytest.raises(SpellingError, match="no 'inventry' in worlds"):
        open_worlds("inventry()")
    with pytest.raises(InputError, match="has no table"):
        open_worlds("table('CartPole-v1')")
    same = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(InputError, match="NEXT_STEP"):
        Spaces.of(same)
    with pytest.raises(InputError, match="discrete actions"):
        catalog.make("dqn()", "rl").begin(Spaces(3, False, 0, (-1.0,), (1.0,), 1), 1, 0, torch.device("cpu"))


def test_drivers_of_one_world_begin_anew_each_by_itself() -> None:
    """Who crashes, leaves the road or has had its time is placed elsewhere; the others drive on where they were."""
    env = DriveVectorEnv("crossroads(seed=1)", 12, agents=6, walkers=0, seconds=20.0, learners=4, seed=5)
    seen, _ = env.reset(seed=5)
    assert seen.shape == (12, 92)
    places: set[tuple[float, float]] = set()
    before = np.zeros(12, np.bool_)
    moved = kept = 0
    for step in range(150):
        x = np.stack([env.world.state.x_m[:, :4], env.world.state.y_m[:, :4]], -1).reshape(-1, 2).copy()
        action = np.tile(np.array([0.3, 0.25 * (-1) ** step], np.float32), (12, 1))  # faster and faster
        _, reward, ended, cut, facts = env.step(action)
        now = np.stack([env.world.state.x_m[:, :4], env.world.state.y_m[:, :4]], -1).reshape(-1, 2)
        far = np.hypot(*(now - x).T)
        assert (far[~before] < 4.5).all()  # at most 40 m/s and a little
        assert (reward[before] == 0).all()
        assert not ended[before].any()
        places |= {(float(px), float(py)) for px, py in now[before & ~cut]}
        moved += int((far[before] > 10).sum())
        kept += int(before.any() and (~before).any())
        assert facts["collision"].shape == (12,)
        before = ended | cut
    assert moved > 5
    assert kept > 5
    assert len(places) > moved / 2  # and not always to the same place


def test_as_many_drivers_share_a_world_as_divide_their_number() -> None:
    assert catalog.make("driving(learners=8, agents=9, walkers=0)", "worlds").build(20).learners == 4
    with pytest.raises(InputError, match="multiple of learners=3"):
        DriveVectorEnv("crossroads(seed=1)", 4, learners=3)
    with pytest.raises(InputError, match="learners must be a whole number from 1 to agents=24"):
        DriveVectorEnv("crossroads(seed=1)", 30, learners=30)
    with pytest.raises(InputError, match="learners must be at most agents=4"):
        catalog.make("driving(learners=5, agents=4)", "worlds").build(7)

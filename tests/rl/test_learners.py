"""Losses against hand-computed values and gradients; every learner solves a tiny problem to its known optimum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from stalwart.core import catalog
from stalwart.core.contracts import Student
from stalwart.mdp.evaluation import evaluate
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import Spaces
from stalwart.mdp.squashing import draw
from stalwart.mdp.surrogate import clipped, log_density
from stalwart.mdp.table import Table

CPU = torch.device("cpu")
BEST = 0.7
"""The corridor's greatest return: three steps at −0.1, then 1."""


def taught(spelled: str, worlds: Any, steps: int, seed: int = 0, chapters: int = 1) -> Student:
    student = catalog.make(spelled, "rl").begin(Spaces.of(worlds), worlds.num_envs, seed, CPU)
    for chapter in range(chapters):
        share = (chapter / chapters, (chapter + 1) / chapters)
        for _ in student.chapter(worlds, steps // chapters, seed * 100 + chapter, *share):
            pass
    return student  # type: ignore[no-any-return]


def score(student: Student, worlds: Any, episodes: int = 8) -> float:
    *_, found = evaluate(student.policy, worlds, episodes, seed=99)
    return float(np.mean(found.returns))


# ---------------------------------------------------------------- hand-computed


def test_one_update_of_q_learning_by_hand() -> None:
    how = "qlearning(rule={!r}, rate=0.5, power=1.0, discount=0.9)"
    spaces = Spaces(3, True, 2)
    for rule, wanted in (("q", 1 + 0.9 * 4), ("sarsa", 1 + 0.9 * 3)):
        student: Any = catalog.make(how.format(rule), "rl").begin(spaces, 1, 0, CPU)
        student.q[0] = [[0.0, 2.0], [3.0, 4.0], [0.0, 0.0]]
        student.visits[0, 0, 1] = 1  # α = max(0.5, 1/2)
        step = (np.array([0]), np.array([1]), np.array([1.0]), np.array([1]), np.array([0]))
        student._update(*step, np.array([False]), np.random.default_rng(0))
        assert student.q[0, 0, 1] == pytest.approx(2 + 0.5 * (wanted - 2))
        student._update(*step, np.array([True]), np.random.default_rng(0))  # behind an end there is nothing
        assert student.q[0, 0, 1] == pytest.approx((2 + 0.5 * (wanted - 2) + 1) / 2)
    student = catalog.make(how.format("double"), "rl").begin(spaces, 1, 0, CPU)
    student.q[0], student.q[1] = [[0, 0], [5, 1], [0, 0]], [[0, 0], [2, 7], [0, 0]]
    student.visits[:] = 1
    which = int(np.random.default_rng(0).integers(2))
    student._update(*step, np.array([False]), np.random.default_rng(0))
    ahead = 2.0 if which == 0 else 1.0  # one table's best action, by the other's word
    assert student.q[which, 0, 1] == pytest.approx(0.5 * (1 + 0.9 * ahead))


def test_q_learning_of_many_worlds_is_that_of_one_where_they_do_not_meet() -> None:
    spaces = Spaces(4, True, 2)
    students: list[Any] = [catalog.make("qlearning()", "rl").begin(spaces, 1, 0, CPU) for _ in range(2)]
    random = np.random.default_rng(3)
    for student in students:
        student.q[:] = np.random.default_rng(5).normal(size=student.q.shape)
        student.q[:, 2:] = 7.0
    seen, action = np.array([0, 1]), np.array([1, 0])
    rest = (np.array([1.0, -1.0]), np.array([2, 3]), np.array([0, 0]), np.array([False, True]))
    students[0]._update(seen, action, *rest, random)
    for n in range(2):
        students[1]._update(seen[n : n + 1], action[n : n + 1], *(part[n : n + 1] for part in rest), random)
    np.testing.assert_allclose(students[0].q, students[1].q)


def test_ppos_loss_by_hand_and_its_gradient() -> None:
    log_ratio = torch.tensor([0.0, math.log(1.5), math.log(0.5), math.log(1.5), math.log(0.5)], requires_grad=True)
    gain = torch.tensor([1.0, 1.0, 1.0, -2.0, -2.0])
    loss = clipped(log_ratio, gain, 0.2)
    # min(r A, clip(r) A): 1, 1.2 (clipped), 0.5, −3, −1.6 (clipped)
    assert float(loss.detach()) == pytest.approx(-(1 + 1.2 + 0.5 - 3 - 1.6) / 5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_ratio.grad is not None
    # d(r A)/d log r = r A where not clipped, else 0
    np.testing.assert_allclose(log_ratio.grad.numpy(), -np.array([1.0, 0.0, 0.5, -3.0, 0.0]) / 5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["logits", "gaussian"])
def test_log_densities_are_torchs(kind: Any) -> None:
    policy = Policy(2, 3, kind, (), low=(-1.0,) * 3, high=(1.0,) * 3)
    out = torch.randn(5, 3)
    if kind == "logits":
        raw, theirs = torch.tensor([0, 1, 2, 1, 0]), torch.distributions.Categorical(logits=out)
        wanted, entropy = theirs.log_prob(raw), theirs.entropy().mean()
    else:
        assert policy.log_std is not None
        policy.log_std.data[:] = torch.tensor([-0.3, 0.1, 0.4])
        raw, normal = torch.randn(5, 3), torch.distributions.Normal(out, policy.log_std.exp())
        wanted, entropy = normal.log_prob(raw).sum(-1), normal.entropy().sum(-1).mean()
    log, spread = log_density(policy, out, raw)
    torch.testing.assert_close(log, wanted)
    torch.testing.assert_close(spread, entropy)


def test_sacs_density_is_that_of_the_transformed_normal() -> None:
    policy = Policy(2, 2, "squashed", (8,), low=(-1.0, -1.0), high=(1.0, 1.0))
    policy.head.weight.data.normal_()
    seen = torch.randn(64, 2)
    out = policy.outputs_of(seen)[0].detach()
    action, density, *_ = draw(out, torch.randn(64, 2))
    mean, log_std = out.chunk(2, -1)
    normal = torch.distributions.Normal(mean.double(), log_std.clamp(-5, 2).exp().double())
    theirs = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform())
    inside = (action.abs() < 0.99).all(-1)  # torch's own inverse loses its digits near ±1
    assert inside.sum() > 20
    wanted = theirs.log_prob(action.double()).sum(-1).float()
    torch.testing.assert_close(density[inside], wanted[inside], rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- optima


@pytest.mark.parametrize(
    ("spelled", "steps", "worlds"),
    [
        ("qlearning()", 4_000, 8),
        ("qlearning(rule='sarsa', explore_last=0.0)", 8_000, 8),
        ("qlearning(rule='double')", 8_000, 8),
        ("dqn(lr=0.005, after=200, target_every=50, widths=(32,))", 3_000, 2),
        ("dqn(lr=0.005, after=200, target_every=50, widths=(32,), duelling=True, steps=3, priority=0.6)", 3_000, 2),
        ("ppo(horizon=32, lr=0.01, epochs=4, entropy=0.01, widths=(16,))", 8_000, 16),
        ("ppo(horizon=32, lr=0.01, epochs=4, entropy=0.01, widths=(16,), activation='relu', shared=True)", 8_000, 16),
        ("ppo(horizon=32, batch=128, lr=0.01, epochs=2, entropy=0.01, widths=(16,), gru=8)", 6_000, 16),
    ],
)
def test_learners_solve_the_corridor(spelled: str, steps: int, worlds: int) -> None:
    student = taught(spelled, tiny.Corridor().build(worlds), steps)
    assert score(student, tiny.Corridor().build(8)) == pytest.approx(BEST)


@pytest.mark.parametrize(
    ("spelled", "steps", "wanted"),
    [
        ("ppo(horizon=64, lr=0.01, epochs=4, batch=128, widths=(16,))", 24_000, 0.01),
        ("sac(lr=0.01, batch=64, after=100, widths=(32,), every=2)", 4_000, 0.01),
    ],
)
def test_learners_of_vectors_aim_where_the_best_lies(spelled: str, steps: int, wanted: float) -> None:
    worlds = tiny.side_by_side(tiny.Aim, 8)
    assert score(taught(spelled, worlds, steps), tiny.side_by_side(tiny.Aim, 8), 64) > -wanted


@pytest.mark.parametrize("spelled", ["ppo(horizon=32, lr=0.02, anneal=False, discount=0.8, widths=(8,))"])
def test_a_time_limit_does_not_end_what_a_state_is_worth(spelled: str) -> None:
    """1 a step for ever at γ = 0.8 is worth 5, though every episode is cut off after four steps."""
    student: Any = taught(spelled, tiny.side_by_side(tiny.Forever, 4), 12_000)
    value = student.critic.outputs_of(student.policy.prepare(torch.zeros(1, 1)))[0]
    assert float(value) == pytest.approx(5.0, rel=0.03)


def test_dqn_bootstraps_through_time_limits() -> None:
    student: Any = taught("dqn(lr=0.01, after=50, target_every=20, discount=0.8, widths=(8,), every=2)",
                          tiny.side_by_side(tiny.Forever, 2), 5_000)  # fmt: skip
    assert float(student.policy(torch.zeros(1, 1)).max()) == pytest.approx(5.0, rel=0.05)


# ---------------------------------------------------------------- exact optima of known problems


@pytest.mark.parametrize(
    ("world", "spelled", "steps", "worlds"),
    [
        ("table('FrozenLake-v1')", "qlearning(discount=0.99, explore_last=0.3)", 600_000, 256),
        (
            "table('FrozenLake8x8-v1')",
            "qlearning(discount=0.995, hopeful=1.0, explore=0.5, explore_last=0.5, power=0.6, rate=0.002)",
            3_000_000,
            1024,
        ),
        ("table('Taxi-v4')", "qlearning(discount=0.99, power=0.0)", 1_500_000, 512),
        ("table('CliffWalking-v1')", "qlearning(discount=0.99, power=0.0)", 300_000, 64),
    ],
)
def test_known_problems_within_a_hundredth_of_value_iteration(
    world: str, spelled: str, steps: int, worlds: int
) -> None:
    problem: Any = catalog.make(world, "worlds")
    table: Table = problem.table()
    student: Any = taught(spelled, problem.build(worlds), steps)
    most = table.most or 100
    reached = table.follow(student.policy(torch.arange(len(table.chance))).argmax(1).numpy(), most)
    # One action a state: what value iteration finds for the learner's own discount, over an episode's steps.
    best = table.follow(table.solve(student.how.discount).argmax(1), most)
    assert reached > best - 0.01 * abs(best)


def test_inventory_within_a_fiftieth_of_dynamic_programming() -> None:
    problem: Any = catalog.make("inventory()", "worlds")
    student = taught("qlearning(discount=0.95, explore_last=0.3)", problem.build(512), 1_500_000)
    table: Table = problem.table()
    reached = table.follow(student.policy(torch.arange(len(table.chance))).argmax(1).numpy(), problem.days)
    assert reached > problem.optimum() * 1.02  # both are costs below 0
    assert problem.optimum() < 0

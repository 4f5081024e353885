"""The worth of a fixed policy's actions against closed forms, and attackers who know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import tiny
import torch
from gymnasium.spaces import Box

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.mdp.policies import Policy
from stalwart.mdp.sarsa import Sarsa, as_taken, worth_of
from stalwart.run._deceived import Climbed
from stalwart.run.deceive import deceive
from stalwart.run.learn import Practice, learn


class Three(gymnasium.Env[Any, Any]):
    """Three steps, the third of which ends it, or cuts it off; the reward is the action. What is seen counts them, but
    where it is cut off, all looks alike."""

    def __init__(self, cut: bool) -> None:
        self.observation_space, self.action_space = Box(0.0, 4.0, (1,), np.float32), Box(-1.0, 1.0, (1,), np.float32)
        self.cut = cut

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.ticks = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.ticks += 1
        over = self.ticks == 3
        seen = np.array([0 if self.cut else self.ticks], np.float32)
        return seen, float(action[0]), over and not self.cut, over and self.cut, {}


def aimed(weight: float, deviation: float) -> Policy:
    """a = weight · x, drawn with a deviation, in parts of 2."""
    policy = Policy(1, 1, "gaussian", (), low=[-2.0], high=[2.0])
    assert policy.log_std is not None
    with torch.no_grad():
        policy.head.weight.fill_(weight / 2)
        policy.log_std.fill_(float(np.log(deviation / 2)))
    return policy


def test_the_worth_of_one_step_is_its_reward() -> None:
    """Q(x, a) = −(a − x/2)² where an episode has one step."""
    worth = worth_of(aimed(0.5, 0.8), tiny.side_by_side(tiny.Aim, 16), Sarsa(3_000, 250), 0)
    x, a = torch.meshgrid(torch.linspace(-0.9, 0.9, 7), torch.linspace(-1.0, 1.0, 7), indexing="ij")
    found = worth(x.reshape(-1, 1), a.reshape(-1, 1) / 2)
    wanted = -((a - x / 2) ** 2).flatten()
    near = (a - x / 2).abs().flatten() < 1.0  # where the policy goes
    assert float((found - wanted)[near].abs().max()) < 0.12


@pytest.mark.parametrize("cut", [False, True])
def test_the_worth_of_a_step_holds_what_comes_after_it_unless_that_is_an_end(cut: bool) -> None:
    """Of actions of ½: ½ (1 + γ + γ²), ½ (1 + γ), ½ up to an end, and ½ / (1 − γ) where time alone is up."""
    policy = Policy(1, 1, "gaussian", (), low=[-1.0], high=[1.0])
    assert policy.log_std is not None
    with torch.no_grad():
        policy.head.weight.zero_()
        policy.head.bias.fill_(0.5)
        policy.log_std.fill_(-2.0)
    worlds = tiny.SideBySide([lambda: Three(cut)] * 16)
    worth = worth_of(policy, worlds, Sarsa(2_000, 300, discount=0.5), 1)
    found = worth(torch.tensor([[0.0], [1.0], [2.0]]), torch.full((3, 1), 0.5))
    if cut:
        assert float(found[0]) == pytest.approx(1.0, abs=0.06)
    else:
        torch.testing.assert_close(found, torch.tensor([0.875, 0.75, 0.5]), rtol=0, atol=0.06)


def test_the_smoother_worth_changes_less_from_action_to_action() -> None:
    x, swing = torch.linspace(-0.9, 0.9, 20)[:, None], {}
    for smooth in (0.0, 20.0):
        how = Sarsa(1_500, 150, smooth=smooth)
        worth = worth_of(aimed(0.5, 0.8), tiny.side_by_side(tiny.Aim, 16), how, 0)
        swing[smooth] = float((worth(x, x / 4 + 0.4) - worth(x, x / 4)).abs().mean())
    assert swing[20.0] < 0.6 * swing[0.0]


def test_who_knows_the_worth_of_actions_has_the_policy_do_the_worst_within_reach() -> None:
    """The best policy x/2 under ε loses (ε/2)². One that is off by b loses (|b| + ε/2)², and only to who knows which
    side is the worse: the furthest action is as often the better one."""
    policy, epsilon = aimed(0.5, 0.8), 0.4
    worth = worth_of(policy, tiny.side_by_side(tiny.Aim, 16), Sarsa(3_000, 250), 0)
    with torch.no_grad():
        policy.head.bias.fill_(0.15)  # a is 0.3 too high
    x = torch.linspace(-0.5, 0.5, 30)[:, None]
    pgd, threat = catalog.make("pgd(steps=6)", "attacks"), catalog.make(f"linf({epsilon})", "threats")
    lost = {}
    for name, known in (("knowing", worth), ("blind", None)):
        shown = Climbed(policy, pgd, threat, 0, known)(x, None)
        assert float((shown - x).abs().max()) <= epsilon + 1e-4
        action = policy.bound(policy.mean_action(policy(shown))).detach()
        lost[name] = float((action - x / 2).square().mean())
    assert lost["knowing"] == pytest.approx((0.3 + epsilon / 2) ** 2, rel=0.02)
    assert lost["blind"] < 0.8 * lost["knowing"]


def test_who_has_learned_what_actions_are_worth_plays_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aim = gymnasium.envs.registration.EnvSpec("StalwartAim-v0", entry_point=tiny.Aim)
    monkeypatch.setitem(gymnasium.registry, "StalwartAim-v0", aim)
    how = Practice(steps=64, worlds=2, chapters=1, episodes=2)
    for _ in learn("StalwartAim-v0", "ppo(horizon=32, batch=32, epochs=1)", settings=how, out=tmp_path / "run"):
        pass
    events = list(deceive(tmp_path / "run", ["pgd(steps=2)"], ["linf(0.3)"], worth=400, episodes=20, seed=1))
    found = {event.values["attack"]: dict(event.values) for event in events if event.kind == "result"}
    assert list(found) == ["pgd(steps=2)", "critic(pgd(steps=2))", "sarsa(pgd(steps=2))"]
    assert len({one["attacked"]["mean_return"] for one in found.values()}) == 3  # each its own way
    assert len({one["clean"]["mean_return"] for one in found.values()}) == 1
    assert [one["worth"] for one in found.values()] == [0, 400, 400]
    kept = sorted(path.name for path in (tmp_path / "run/results").glob("deceive*.json"))
    assert sum("worth-400" in name for name in kept) == 2
    with pytest.raises(InputError, match="worth is for attacks"):
        next(deceive(tmp_path / "run", [], ["linf(0.3)"], adversary=tmp_path / "run", worth=400))
    progress = [event.values for event in events if event.kind == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 20 * 5


def test_slopes_pass_where_actions_are_cut() -> None:
    policy = aimed(0.5, 0.8)
    mean = torch.tensor([[-3.0], [0.4], [2.0]], requires_grad=True)
    taken = as_taken(policy, mean)
    taken.sum().backward()  # type: ignore[no-untyped-call]
    assert taken.detach().flatten().tolist() == pytest.approx([-1.0, 0.4, 1.0])
    assert mean.grad is not None
    assert mean.grad.flatten().tolist() == [1.0, 1.0, 1.0]


def test_discrete_actions_have_no_such_worth() -> None:
    with pytest.raises(InputError, match="vector actions"):
        worth_of(Policy(1, 2, "logits", ()), tiny.side_by_side(tiny.Forever, 2), Sarsa(10, 1), 0)

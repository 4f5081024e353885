"""Policies under attack in the loop: linear ones, for which the strongest change is known in closed form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.mdp.deceived import DeceivingWorlds
from stalwart.mdp.policies import Policy
from stalwart.run._deceived import Climbed, Deceived, Learned, Shaken
from stalwart.run._judge import doubts
from stalwart.run.deceive import deceive
from stalwart.run.learn import Practice, learn
from stalwart.store import checkpoint

BALANCE = torch.tensor([0.1, 0.2, 2.0, 0.6])
"""Push towards where the pole falls: such a policy balances CartPole for all 500 steps."""


def linear(weights: torch.Tensor, kind: str = "logits") -> Policy:
    """Two actions by the sign of weights · observation, or that number as an action."""
    spelled = f"policy({len(weights)}, {2 if kind == 'logits' else 1}, {kind!r}, widths=())"
    policy = catalog.make(spelled, "models").build(Signature(2, 1, (1, 1)))
    assert isinstance(policy, Policy)
    with torch.no_grad():
        policy.head.bias.zero_()
        policy.head.weight.copy_(torch.stack([-weights, weights]) if kind == "logits" else weights[None])
    return policy.eval()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    from stalwart.store.folder import RunFolder

    RunFolder.create(tmp_path / "run", {"kind": "rl", "spelling": {"env": "CartPole-v1", "algo": "ppo()"}}).close()
    card = {
        "task": "control", "model": "policy(4, 2, 'logits', widths=())", "data": "CartPole-v1",
        "classes": ["left", "right"], "signature": {"classes": 2, "channels": 1, "size": [1, 4]},
    }  # fmt: skip
    checkpoint.save(tmp_path / "run" / "best", linear(BALANCE), card)
    return tmp_path / "run"


def last(events: Any) -> dict[str, Any]:
    return next(dict(e.values) for e in reversed(list(events)) if e.kind == "result")


@given(seed=st.integers(0, 9999), epsilon=st.floats(0.01, 2.0), norm=st.sampled_from(["linf", "l2"]))
@example(seed=62, epsilon=1.78125, norm="l2")
@settings(max_examples=25, deadline=None)
def test_a_linear_policy_is_turned_exactly_where_the_closed_form_says(seed: int, epsilon: float, norm: str) -> None:
    """|w · s| < ε ‖w‖ in the dual norm."""
    g = torch.Generator().manual_seed(seed)
    weights, seen = torch.randn(6, generator=g), torch.randn(40, 6, generator=g) * 2
    seen = seen.clamp(-7, 7)  # away from where observations end
    policy = linear(weights)
    # Steps of a fifth of ε: 2.5 ε in all, as is usual, do not bring every random start to the best point of an L2 ball.
    solver = catalog.make("pgd(steps=40, step=0.2)", "attacks")
    shown = Climbed(policy, solver, catalog.make(f"{norm}({epsilon})", "threats"), 0)(seen, None)
    change = shown - seen
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert float(size.max()) <= epsilon * (1 + 1e-3) + 1e-4
    dual = weights.abs().sum() if norm == "linf" else weights.norm()
    room = (seen @ weights).abs() / (epsilon * dual)
    turned = policy(shown).argmax(-1) != policy(seen).argmax(-1)
    assert bool(turned[room < 0.98].all())
    assert not bool(turned[room > 1.01].any())


def test_a_vector_policys_action_is_moved_as_far_as_can_be_and_noise_moves_it_less() -> None:
    g = torch.Generator().manual_seed(1)
    weights, seen = torch.randn(8, generator=g), torch.randn(60, 8, generator=g)
    policy, threat = linear(weights, "gaussian"), catalog.make("linf(0.2)", "threats")
    attacked = Climbed(policy, catalog.make("pgd(steps=20)", "attacks"), threat, 0)
    away = (policy(attacked(seen, None)) - policy(seen)).abs().squeeze(-1)
    torch.testing.assert_close(away, torch.full((60,), 0.2 * float(weights.abs().sum())), rtol=2e-3, atol=1e-3)
    shaken = Shaken(threat, 0)(seen, None)
    torch.testing.assert_close((shaken - seen).abs(), torch.full((60, 8), 0.2), rtol=0, atol=1e-4)
    assert float((policy(shaken) - policy(seen)).abs().mean().detach()) < 0.6 * float(away.mean().detach())
    blind = Climbed(policy, catalog.make("fgsm()", "attacks"), threat, 0)
    blind(seen, None)
    assert doubts([blind])  # the slope is 0 at the observation itself, and the engine says so


def test_nothing_changes_at_radius_0_and_only_where_the_policy_is_sure() -> None:
    seen = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
    policy = linear(BALANCE)
    pgd = catalog.make("pgd(steps=3)", "attacks")
    nothing = Climbed(policy, pgd, catalog.make("linf(0)", "threats"), 0)
    torch.testing.assert_close(nothing(seen, None), seen, rtol=0, atol=2e-6)
    timed = Deceived(policy, Shaken(catalog.make("linf(0.5)", "threats"), 0), sure=0.6)
    timed.act(seen)
    shares = policy(seen).softmax(-1)
    assert timed.changed == int(((shares[:, 0] - shares[:, 1]).abs() > 0.6).sum())
    assert 0 < timed.changed < timed.steps == 30


def test_a_balancing_policy_falls_to_the_attack_and_not_to_noise(run: Path) -> None:
    events = list(deceive(run, ["pgd(steps=4)"], ["linf(0.15)"], episodes=3, seed=3))
    found = last(events)
    assert found["clean"]["mean_return"] == 500
    assert found["noise"]["mean_return"] > 450
    assert found["attacked"]["mean_return"] < 200
    assert found["attacked"]["interval"][0] < found["attacked"]["mean_return"] < found["attacked"]["interval"][1]
    assert 0 < found["changed_share"] <= 1
    assert found["backwards"] > 0
    assert last(deceive(run, ["pgd(steps=4)"], ["linf(0.15)"], episodes=3, seed=3))["attacked"] == found["attacked"]
    kept = json.loads(next((run / "results").glob("deceive*.json")).read_text())
    assert kept["attacked"]["mean_return"] == found["attacked"]["mean_return"]
    progress = [e.values for e in events if e.kind == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 9
    none = last(deceive(run, ["pgd(steps=2)"], ["linf(0)"], episodes=2))
    assert none["attacked"]["returns"] == none["clean"]["returns"] == none["noise"]["returns"]


def test_a_learned_adversary_plays_in_a_world_of_its_own(run: Path, tmp_path: Path) -> None:
    world = f"deceiving(run={str(run)!r}, epsilon=0.15)"
    many = catalog.make(world, "worlds").build(3)
    assert isinstance(many, DeceivingWorlds)
    seen, _ = many.reset(seed=5)
    # The closed form again: the worst push against a linear policy, by the sign of its weights.
    total = np.zeros(3)
    done = np.zeros(3, np.bool_)
    for _ in range(500):
        sway = seen @ BALANCE.numpy()
        push = -np.sign(sway)[:, None] * np.sign(BALANCE.numpy())[None]
        seen, reward, ended, cut, _ = many.step(push)
        total += np.where(done, 0, reward)
        done |= ended | cut
    many.close()
    assert (total < 0).all()
    assert total.mean() > -250  # it falls early, which is what its adversary is paid for
    how = Practice(steps=512, worlds=4, chapters=1, episodes=2)
    for _ in learn(world, "ppo(horizon=64, batch=128, epochs=1)", settings=how, out=tmp_path / "rival"):
        pass
    found = last(deceive(run, [], ["linf(0.15)"], adversary=tmp_path / "rival", episodes=3))
    assert found["attack"].startswith("learned(")
    assert found["attacked"]["episodes"] == 3
    rival = Learned(linear(BALANCE), linear(torch.ones(4), "gaussian"), 0.1)
    shown = rival(torch.zeros(2, 4), None)
    assert shown.abs().max() <= 0.1


def test_a_learned_adversary_that_decides_directions_is_played_as_it_was_trained(run: Path, tmp_path: Path) -> None:
    world = f"deceiving(run={str(run)!r}, epsilon=0.15, climbs=1)"
    many = catalog.make(world, "worlds").build(3)
    assert many.single_action_space.shape == (2,)
    seen, _ = many.reset(seed=5)
    total, done = np.zeros(3), np.zeros(3, np.bool_)
    for _ in range(500):
        # The closed form above, put as a direction: the action that the policy does not prefer there.
        sway = np.sign(seen @ BALANCE.numpy())[:, None]
        seen, reward, ended, cut, _ = many.step(sway * np.array([[1.0, -1.0]]))
        total += np.where(done, 0, reward)
        done |= ended | cut
    many.close()
    assert -250 < total.mean() < 0
    how = Practice(steps=512, worlds=4, chapters=1, episodes=2)
    for _ in learn(world, "ppo(horizon=64, batch=128, epochs=1)", settings=how, out=tmp_path / "rival"):
        pass
    assert last(deceive(run, [], ["linf(0.15)"], adversary=tmp_path / "rival", episodes=3))["attacked"]["episodes"] == 3
    with pytest.raises(InputError, match="is trained on deceiving"):
        next(deceive(run, [], ["linf(0.15)"], adversary=run, episodes=3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attacks": []}, "needs a threat, and an attack or an adversary"),
        ({"threats": ["l0(3)"]}, "attacked under linf, l2, l1. Got l0"),
        ({"threats": ["linf(99)"]}, "at most 20 here. Got 99"),
        ({"episodes": 1}, "at least 2, for an interval. Got 1"),
        ({"worth": -1}, "worth must be at least 0 steps. Got -1"),
        ({"worth": 100}, "learned for vector actions"),
        ({"sure": 1.0}, r"sure must lie in \[0, 1\)"),
        ({"attacks": ["universal()"]}, "one change for all images"),
        ({"checkpoint": "lst"}, "lst"),
    ],
)
def test_wrong_input_is_refused_in_one_line(run: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(deceive(run, **wrong))
    assert "\n" not in str(caught.value)
    assert not (run / "results").exists()

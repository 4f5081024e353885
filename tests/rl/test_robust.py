"""Robust learners: divergences against torch's and against closed forms, worlds with a rival between, both learners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.mdp.deceived import DeceivedWorlds, changed
from stalwart.mdp.evaluation import evaluate
from stalwart.mdp.open import open_worlds
from stalwart.mdp.policies import Policy
from stalwart.mdp.smooth import divergence, furthest, roughness
from stalwart.mdp.spaces import Spaces


def linear(kind: Any, outputs: int, seed: int = 0) -> Policy:
    policy = Policy(5, outputs, kind, ())
    with torch.no_grad():
        policy.head.weight.copy_(torch.randn(outputs, 5, generator=torch.Generator().manual_seed(seed)))
        if policy.log_std is not None:
            policy.log_std.copy_(torch.linspace(-0.5, 0.3, outputs))
    return policy


@pytest.mark.parametrize("kind", ["logits", "gaussian"])
def test_divergences_are_torchs(kind: Any) -> None:
    policy = linear(kind, 3)
    here, there = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1))
    if kind == "logits":
        wanted = kl_divergence(Categorical(logits=here), Categorical(logits=there))
    else:
        std = policy.deviation()
        wanted = kl_divergence(Normal(here, std), Normal(there, std)).sum(-1)
    torch.testing.assert_close(divergence(policy, here, there), wanted)


def test_the_furthest_of_a_linear_policy_is_the_closed_form() -> None:
    """½ (ε ‖w‖₁ / σ)² for one gaussian number; with two actions an end of the range ±ε ‖w₁ − w₀‖₁ of their logits."""
    seen, epsilon = torch.randn(50, 5, generator=torch.Generator().manual_seed(2)), 0.3
    policy = linear("gaussian", 1)
    rough = roughness(policy, seen, epsilon, 20, torch.Generator().manual_seed(0))
    w = policy.head.weight.detach()
    assert float(rough.detach()) == pytest.approx(
        0.5 * (epsilon * float(w.abs().sum()) / float(policy.deviation().detach())) ** 2, rel=1e-4
    )
    policy = linear("logits", 2)
    there = furthest(policy, seen, epsilon, 20, torch.Generator().manual_seed(0))
    assert float((there - seen).abs().max()) <= epsilon + 1e-6
    assert policy.head.weight.grad is None
    gap = (policy(there) - policy(seen)).detach()
    w = policy.head.weight.detach()
    most = epsilon * float((w[1] - w[0]).abs().sum())
    torch.testing.assert_close((gap[:, 1] - gap[:, 0]).abs(), torch.full((50,), most), rtol=1e-3, atol=1e-3)


def test_the_neighbours_are_drawn_to_what_the_policy_does() -> None:
    """The slope of the roughness of one gaussian number in w is that of ½ (w · δ / σ)² where δ is the change found."""
    policy, seen = linear("gaussian", 1), torch.randn(8, 5, generator=torch.Generator().manual_seed(3))
    change = furthest(policy, seen, 0.2, 5, torch.Generator().manual_seed(4)) - seen
    policy.zero_grad()
    roughness(policy, seen, 0.2, 5, torch.Generator().manual_seed(4)).backward()  # type: ignore[no-untyped-call]
    w, var = policy.head.weight.detach()[0], float(policy.deviation()) ** 2
    # Only ŝ moves: d/dw of ½ (w · ŝ − c)² / σ² is (w · δ) ŝ / σ².
    wanted = ((change @ w)[:, None] * (seen + change)).mean(0) / var
    torch.testing.assert_close(policy.head.weight.grad[0], wanted, rtol=1e-4, atol=1e-5)


def test_sa_ppo_is_smoother_than_ppo_and_still_learns() -> None:
    rough = {}
    for name, more in (("ppo", ""), ("sa-ppo", ", kappa=3.0, epsilon=0.5")):
        worlds = tiny.side_by_side(tiny.Aim, 4)
        how = f"ppo(horizon=64, batch=128, epochs=4, widths=(16,), lr=0.01, normalise=False{more})"
        student = catalog.make(how, "rl").begin(Spaces.of(worlds), 4, 0, torch.device("cpu"))
        for _ in student.chapter(worlds, 5_120, 1, 0.0, 1.0):
            pass
        *_, found = evaluate(student.policy, tiny.side_by_side(tiny.Aim, 4), 40, 9)
        assert np.mean(found.returns) > -0.12  # −E[(x/2)²] = −0.083 is what standing still gets
        seen = torch.linspace(-0.9, 0.9, 50)[:, None]
        student.policy.log_std.data.zero_()  # type: ignore[union-attr]
        rough[name] = float(roughness(student.policy, seen, 0.5, 10, torch.Generator().manual_seed(0)).detach())
    assert rough["sa-ppo"] < 0.5 * rough["ppo"]
    with pytest.raises(InputError, match="memory"):
        catalog.make("ppo(kappa=1.0, gru=4)", "rl").begin(Spaces.of(worlds), 1, 0, torch.device("cpu"))


def test_a_rival_between_changes_what_is_seen_by_epsilon_of_the_policys_units() -> None:
    policy, rival = (
        Policy(4, 2, "logits", (), normalise=True),
        Policy(4, 4, "gaussian", (), low=[-1.0] * 4, high=[1.0] * 4),
    )
    assert policy.norm is not None
    assert rival.log_std is not None
    policy.norm.learn(torch.randn(100, 4) * torch.tensor([1.0, 2.0, 0.5, 4.0]))
    with torch.no_grad():
        rival.log_std.fill_(-20.0)
        rival.head.weight.zero_()
        rival.head.bias.copy_(torch.tensor([1.0, -1.0, 0.5, 3.0]))  # the last one is cut at 1
    plain = open_worlds("CartPole-v1", 3)
    between = DeceivedWorlds(open_worlds("CartPole-v1", 3), policy, rival, 0.2, 0)
    nothing = DeceivedWorlds(open_worlds("CartPole-v1", 3), policy, rival, 0.0, 0)
    actions = np.array([0, 1, 0])
    for seen, shown, same in (
        (plain.reset(seed=1)[0], between.reset(seed=1)[0], nothing.reset(seed=1)[0]),
        (plain.step(actions)[0], between.step(actions)[0], nothing.step(actions)[0]),
    ):
        wanted = 0.2 * policy.norm.square.sqrt().numpy() * np.array([1.0, -1.0, 0.5, 1.0])
        np.testing.assert_allclose(shown - seen, np.broadcast_to(wanted, seen.shape), rtol=1e-4, atol=1e-5)
        assert np.array_equal(same, seen)


@pytest.mark.parametrize(("kind", "climbs"), [("gaussian", 1), ("logits", 3)])
def test_a_rival_that_decides_a_direction_moves_a_linear_policy_as_far_as_can_be(kind: Any, climbs: int) -> None:
    """Of w · δ with |δᵢ| ≤ ε the greatest is ε ‖w‖₁, and δ = ε sign w."""
    policy, epsilon = linear(kind, 3), 0.2
    seen, way = (torch.randn(40, n, generator=torch.Generator().manual_seed(n)) for n in (5, 3))
    with torch.inference_mode():  # as rollouts are collected
        shown = changed(policy, seen * 1.0, way * 1.0, epsilon, climbs)
    shown = shown.clone()
    pull = way @ policy.head.weight.detach()
    torch.testing.assert_close(shown - seen, epsilon * pull.sign(), rtol=1e-4, atol=1e-5)
    gain = (way * (policy(shown) - policy(seen)).detach()).sum(1)
    torch.testing.assert_close(gain, epsilon * pull.abs().sum(1), rtol=1e-4, atol=1e-5)
    assert policy.head.weight.grad is None


@pytest.mark.parametrize("climbs", [0, 2])
def test_atla_learns_under_its_rival(climbs: int) -> None:
    worlds = tiny.side_by_side(tiny.Aim, 4)
    learner = catalog.make(
        "atla(learner=ppo(horizon=64, batch=128, epochs=4, widths=(16,), lr=0.01), "
        "rival=ppo(horizon=64, batch=128, epochs=2, widths=(16,)), epsilon=0.1, turns=2, share=0.25, "
        f"climbs={climbs})",
        "rl",
    )
    student = learner.begin(Spaces.of(worlds), 4, 0, torch.device("cpu"))
    before = {name: value.clone() for name, value in student.state().items()}
    *_, last = student.chapter(worlds, 16_384, 1, 0.0, 1.0)
    assert last.values["done"] == 16_384
    assert last.values["rival_train_return"] > 0  # what the policy loses is won
    *_, found = evaluate(student.policy, tiny.side_by_side(tiny.Aim, 4), 40, 9)
    assert np.mean(found.returns) > -0.04
    moved = [name for name, value in student.state().items() if not torch.equal(value, before[name])]
    assert {name.split("/")[0] for name in moved} == {"agent", "rival"}
    with pytest.raises(InputError, match="vectors"):
        learner.begin(Spaces(5, True, 2), 1, 0, torch.device("cpu"))

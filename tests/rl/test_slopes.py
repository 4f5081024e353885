"""Slopes by hand against autograd's, in one thread and in several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stalwart.core import catalog
from stalwart.mdp.flat import Flat
from stalwart.mdp.open import open_worlds
from stalwart.mdp.pair import Pair, single, threads_for
from stalwart.mdp.policies import Policy
from stalwart.mdp.replay import Drawn
from stalwart.mdp.spaces import Spaces
from stalwart.mdp.surrogate import Found, Weighing, clipped, log_density, surrogate
from stalwart.mdp.surrogate_rows import surrogate_of_rows

CPU = torch.device("cpu")


def both(kind: Any, shared: bool, widths: tuple[int, ...], activation: str) -> tuple[Policy, Policy, Flat]:
    torch.manual_seed(3)
    policy = Policy(5, 3, kind, widths, activation=activation)
    critic = Policy(widths[-1], 1, "values", ()) if shared else Policy(5, 1, "values", widths, activation=activation)
    policy.head.weight.data.normal_()
    if policy.log_std is not None:
        policy.log_std.data[:] = torch.tensor([-0.3, 0.1, 0.4])
    return policy, critic, Flat([*policy.parameters(), *critic.parameters()], 0.1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("climbing", [True, False])
@pytest.mark.parametrize(
    ("kind", "shared", "widths", "activation"),
    [("gaussian", False, (8, 6), "tanh"), ("gaussian", True, (8,), "relu"), ("logits", True, (8, 6), "tanh"),
     ("logits", False, (8,), "relu"), ("gaussian", False, (), "tanh")],
)  # fmt: skip
def test_ppos_slopes_are_those_of_autograd(
    kind: Any, shared: bool, widths: tuple[int, ...], activation: str, climbing: bool, threads: int
) -> None:
    policy, critic, flat = both(kind, shared, widths, activation)
    seen, index = torch.randn(1200, 5), torch.randperm(1200)[:1001]
    raw = torch.randint(3, (1200,)) if kind == "logits" else torch.randn(1200, 3)
    gain, target = torch.randn(1200), torch.randn(1200)
    how = Weighing(0.2, 0.7, 0.05, climbing)
    with torch.no_grad():
        old, _ = log_density(policy, policy(seen), raw)
        old += 0.4 * torch.randn(1200)  # so that many ratios lie beyond the clip, on both sides

    features = policy.body(seen[index])
    value = critic.outputs_of(features if shared else seen[index])[0][:, 0]
    log, entropy = log_density(policy, policy.head(features), raw[index])
    wanted = 0.7 * (value - target[index]).square().mean()
    if climbing:
        wanted = wanted + clipped(log - old[index], gain[index], 0.2) - 0.05 * entropy
    wanted.backward()  # type: ignore[no-untyped-call]
    slopes = flat.gradient.clone()
    assert slopes.abs().max() > 0.01

    def at_once(out: Tensor, value: Tensor, rows: Tensor) -> Found:
        return surrogate(policy, out, value, raw[rows], old[rows], gain[rows], target[rows], how, len(index))

    def by_rows(out: Tensor, value: Tensor, rows: Tensor) -> Found:
        raised = 3.0 * gain + 2.0
        return surrogate_of_rows(policy, out, value, raw, old, raised, target, rows, (2.0, 3.0), how, len(index))

    pair = Pair(policy, critic, shared, 1001, flat, threads)
    for loss_of in (at_once, by_rows):  # a second time, as the other threads' slopes must begin at 0
        flat.gradient.zero_()
        with torch.no_grad(), single(threads):
            found = pair.slopes(seen, index, loss_of)
        torch.testing.assert_close(found, wanted.detach())
        torch.testing.assert_close(flat.gradient, slopes, rtol=1e-4, atol=1e-6)
    with torch.no_grad():  # more rows than fit at once
        every = critic.outputs_of(policy.body(seen) if shared else seen)[0][:, 0]
        torch.testing.assert_close(pair.values(seen), every)
        torch.testing.assert_close(pair.act(seen[:700]), policy(seen[:700]))


def test_ppo_in_two_threads_gives_the_same_bits_each_time_and_those_of_one_up_to_rounding() -> None:
    """Two rollouts of a world whose steps do not depend on threads; each half of 512 rows has a thread of its own."""

    def weights(threads: int) -> Tensor:
        was = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            worlds = open_worlds("table('FrozenLake-v1')", 128)
            how = "ppo(horizon=8, batch=512, epochs=2, widths=(16,), anneal=False)"
            student: Any = catalog.make(how, "rl").begin(Spaces.of(worlds), 128, 0, CPU)
            assert student.threads == threads
            list(student.chapter(worlds, 2 * 8 * 128, 1, 0.0, 1.0))
            assert torch.get_num_threads() == threads
            return student.flat.weights.clone()  # type: ignore[no-any-return]
        finally:
            torch.set_num_threads(was)

    two = weights(2)
    assert torch.equal(two, weights(2))
    torch.testing.assert_close(two, weights(1), rtol=1e-3, atol=1e-5)


def drawn(rows: int, actions: Tensor) -> Drawn:
    ended = torch.rand(rows) < 0.3
    return Drawn(
        torch.randn(rows, 3), actions, torch.randn(rows), torch.randn(rows, 3), torch.where(ended, 0.0, 0.9),
        torch.rand(rows), np.arange(rows),
    )  # fmt: skip


def frozen(flat: Flat) -> Flat:
    """Its slopes stay to be looked at, and its weights where they are."""
    flat.lr = 0.0
    return flat


def test_sacs_slopes_are_those_of_autograd() -> None:
    """Equations 5, 9 and 18 with torch's own distributions; log σ beyond its range has no slope."""
    torch.manual_seed(1)
    spaces = Spaces(3, False, 0, (-1.0, -1.0), (1.0, 1.0), 2)
    student: Any = catalog.make("sac(batch=32, widths=(8, 6), alpha=0.3)", "rl").begin(spaces, 1, 0, CPU)
    student.policy.head.weight.data.normal_(0, 3.0)
    for copy in student.copies:
        copy.head.weight.data.normal_()
    critic, actor, tuner = (frozen(part) for part in (student.critic, student.actor, student.tuner))
    batch, noise = drawn(32, torch.rand(32, 2) * 2 - 1), torch.Generator().manual_seed(5)

    def acted(seen: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = student.policy.outputs_of(seen)[0].chunk(2, -1)
        assert bool((log_std > 2).any()) or bool((log_std < -5).any())
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        raw = mean + normal.stddev * torch.randn(32, 2, generator=noise)
        return raw.tanh(), (normal.log_prob(raw) + 2 * raw.cosh().log()).sum(-1)

    def worth(nets: Any, seen: Tensor, action: Tensor) -> Tensor:
        return torch.stack([net.outputs_of(torch.cat([seen, action], -1))[0][:, 0] for net in nets])

    with torch.no_grad():
        following, density = acted(batch.ahead)
        wanted = batch.reward + batch.discount * (worth(student.copies, batch.ahead, following).amin(0) - 0.3 * density)
    loss = 0.5 * (worth(student.critics, batch.seen, batch.action) - wanted).square().mean(1).sum()
    of_critics = torch.autograd.grad(loss, critic.parts)
    action, density = acted(batch.seen)
    aim = (0.3 * density - worth(student.critics, batch.seen, action).amin(0)).mean()
    of_actor = torch.autograd.grad(aim, actor.parts)
    found = student._learn(batch, torch.Generator().manual_seed(5))
    torch.testing.assert_close(found, loss.detach(), rtol=1e-4, atol=1e-5)
    for part, slope in zip([*critic.parts, *actor.parts], [*of_critics, *of_actor], strict=True):
        assert part.grad is not None
        torch.testing.assert_close(part.grad, slope, rtol=1e-3, atol=1e-4)
    assert float(tuner.gradient) == pytest.approx(-0.3 * (float(density.detach().mean()) - 2), rel=1e-3)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("duelling", [False, True])
def test_dqns_slopes_are_those_of_autograd(duelling: bool, double: bool) -> None:
    torch.manual_seed(2)
    how = f"dqn(batch=40, widths=(8, 6), duelling={duelling}, double={double}, target_every=1000, most_gradient=1e9)"
    student: Any = catalog.make(how, "rl").begin(Spaces(3, False, 4), 1, 0, CPU)
    student.target.head.weight.data.normal_()
    flat, batch = frozen(student.flat), drawn(40, torch.randint(4, (40,)))
    with torch.no_grad():
        older = student.target(batch.ahead)
        best = (student.policy(batch.ahead) if double else older).argmax(1)
        wanted = batch.reward + batch.discount * older[torch.arange(40), best]
    value = student.policy(batch.seen)[torch.arange(40), batch.action]
    assert 5 < int(((value - wanted).abs() > 1).sum()) < 35  # both sides of Huber's loss
    loss = (batch.weight * torch.nn.functional.smooth_l1_loss(value, wanted, reduction="none")).mean()
    slopes = torch.autograd.grad(loss, flat.parts)
    torch.testing.assert_close(student._learn(batch), loss.detach())
    for part, slope in zip(flat.parts, slopes, strict=True):
        assert part.grad is not None
        torch.testing.assert_close(part.grad, slope, rtol=1e-4, atol=1e-6)


def test_a_thread_is_woken_for_rows_enough() -> None:
    was = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert [threads_for(rows, CPU) for rows in (64, 511, 512, 4096)] == [1, 1, 2, 4]
    finally:
        torch.set_num_threads(was)

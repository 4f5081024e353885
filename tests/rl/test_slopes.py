"""Slopes by hand against autograd's, in one thread and in several."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stalwart.core import catalog
from stalwart.mdp.flat import Flat
from stalwart.mdp.open import open_worlds
from stalwart.mdp.pair import Pair, single, threads_for
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import Spaces
from stalwart.mdp.surrogate import Found, Weighing, clipped, log_density, surrogate

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

    def loss_of(out: Tensor, value: Tensor, rows: Tensor) -> Found:
        return surrogate(policy, out, value, raw[rows], old[rows], gain[rows], target[rows], how, len(index))

    pair = Pair(policy, critic, shared, 1001, flat, threads)
    for _ in range(2):  # a second time, as the other threads' slopes must begin at 0
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


def test_a_thread_is_woken_for_rows_enough() -> None:
    was = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert [threads_for(rows, CPU) for rows in (64, 511, 512, 4096)] == [1, 1, 2, 4]
    finally:
        torch.set_num_threads(was)

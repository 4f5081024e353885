"""Foolbox and torchattacks as oracles, on a small network trained on real digits."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import stalwart

foolbox = pytest.importorskip("foolbox", reason="foolbox is an oracle of these tests: make setup")
torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is an oracle of these tests: make setup")


@cache
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small net, and 300 test digits that it has not seen."""
    digits = load_digits()
    x = (torch.tensor(digits.images / 16.0, dtype=torch.float32)[:, None] * 255).round() / 255
    y = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:1200]), y[:1200]).backward()
            optimizer.step()
    return model.eval(), x[1400:1700], y[1400:1700]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def test_fgsm_is_the_peers_fgsm() -> None:
    model, x, y = trained()
    ours = stalwart.attack(model, x, y, "fgsm()", "linf(0.1)", bits=None)
    theirs = torchattacks.FGSM(model, eps=0.1)(x, y)
    moved = ~ours.clean_reached
    torch.testing.assert_close(ours.adversarial[moved], theirs[moved], atol=2e-6, rtol=0)


def test_one_l2_step_is_foolboxs() -> None:
    model, x, y = trained()
    ours = stalwart.attack(model, x, y, "fgm()", "l2(0.7)", bits=None)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1))
    theirs, _, _ = foolbox.attacks.L2FastGradientAttack(random_start=False)(bounded, x, y, epsilons=0.7)
    # foolbox cuts to the box after scaling; where no pixel is cut the two must be the same
    uncut = ~ours.clean_reached & ((x + (theirs - x) * 1.01).amin((1, 2, 3)) > 0)
    inside = ours.size <= 0.7 + 1e-5
    assert inside.all()
    if uncut.any():
        torch.testing.assert_close(ours.adversarial[uncut], theirs[uncut], atol=1e-5, rtol=0)


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.15])
def test_bim_is_as_strong_as_torchattacks(epsilon: float) -> None:
    model, x, y = trained()
    ours = stalwart.attack(model, x, y, "bim(steps=10, step=0.25)", f"linf({epsilon})", bits=None)
    theirs = torchattacks.PGD(model, eps=epsilon, alpha=epsilon / 4, steps=10, random_start=False)(x, y)
    # ours takes the first success on the way, theirs the last point alone
    assert ours.robust_accuracy <= accuracy(model, theirs, y) + 1e-6
    assert ours.robust_accuracy >= accuracy(model, theirs, y) - 0.02


@pytest.mark.parametrize(("threat", "name"), [("linf(0.1)", "LinfPGD"), ("l2(1.0)", "L2PGD")])
def test_pgd_is_as_strong_as_foolbox_at_equal_steps(threat: str, name: str) -> None:
    model, x, y = trained()
    epsilon = float(threat.split("(")[1].rstrip(")"))
    ours = stalwart.attack(model, x, y, "pgd(steps=20)", threat, bits=None)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1))
    peer = getattr(foolbox.attacks, name)(steps=20, rel_stepsize=0.125)
    _, _, success = peer(bounded, x, y, epsilons=epsilon)
    assert abs(ours.robust_accuracy - (1 - success.float().mean().item())) <= 0.02
    assert ours.robust_accuracy < accuracy(model, x, y) - 0.1  # the attack does something

"""Attacks around attacks: eot on random models, bpda through shields."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

import stalwart
from stalwart.core.shielding import Shielded, differentiable, random

sys.path.append(str(Path(__file__).parents[1] / "run"))
from zoo import BUILDERS, digits, learn


class Rounded(Shielded):
    def defend(self, images: Tensor) -> Tensor:
        return (images * 7).round() / 7


class Shaken(Shielded):
    random = True

    def defend(self, images: Tensor) -> Tensor:
        return images + 0.15 * torch.randn_like(images)


@cache
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    images, labels = digits()
    return learn(BUILDERS["convolutional"]), images[1400:1500], labels[1400:1500]


def test_eot_on_a_model_that_is_not_random_is_the_attack_itself() -> None:
    model, x, y = problem()
    plain = stalwart.attack(model, x, y, "pgd(steps=5)", "linf(0.08)")
    mean = stalwart.attack(model, x, y, "eot(attack=pgd(steps=5), n=3)", "linf(0.08)")
    assert torch.equal(plain.reached, mean.reached)
    assert torch.allclose(plain.adversarial[~plain.reached], mean.adversarial[~plain.reached], atol=1 / 255)
    assert mean.backwards == 3 * plain.backwards


def test_eot_finds_what_holds_for_most_draws() -> None:
    """Judged by 40 fresh passes, an attack on the mean leaves less than one that sees a single draw a step."""
    model, x, y = problem()
    shaken = Shaken(model)
    left = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for attack in ("pgd(steps=15)", "eot(attack=pgd(steps=15), n=12)"):
            found = stalwart.attack(shaken, x, y, attack, "linf(0.1)").adversarial
            with torch.no_grad():
                left[attack] = torch.stack([shaken(found).argmax(1) == y for _ in range(40)]).float().mean()
    single, mean = left.values()
    assert mean < single - 0.05


def test_bpda_goes_through_a_shield_that_stops_a_naive_attack() -> None:
    model, x, y = problem()
    shielded = nn.Sequential(Rounded(model))
    naive = stalwart.attack(shielded, x, y, "pgd(steps=20)", "linf(0.1)")
    known = stalwart.attack(shielded, x, y, "bpda(attack=pgd(steps=20))", "linf(0.1)")
    assert naive.robust_accuracy > known.robust_accuracy + 0.2
    with torch.no_grad():  # the judge was the shielded model, not its twin
        assert torch.equal(shielded(known.adversarial).argmax(1) != y, known.reached)


def test_bpda_without_a_shield_is_the_attack_itself() -> None:
    model, x, y = problem()
    plain = stalwart.attack(model, x, y, "pgd(steps=5)", "linf(0.08)")
    assert torch.equal(plain.adversarial, stalwart.attack(model, x, y, "bpda(attack=pgd(5))", "linf(0.08)").adversarial)


def test_the_twin_gives_the_same_outputs_and_shares_the_weights() -> None:
    model, x, _ = problem()
    nested = Rounded(Rounded(model))
    twin = differentiable(nested)
    assert torch.equal(twin(x), nested(x))
    assert {id(p) for p in twin.parameters()} == {id(p) for p in nested.parameters()}
    assert not any(module.straight for module in nested.modules() if isinstance(module, Shielded))
    assert differentiable(model) is model
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(twin(x).sum(), x)
    assert (slope.flatten(1).abs().amax(1) > 0).all()
    assert random(nn.Sequential(Shaken(model)))
    assert not random(nested)

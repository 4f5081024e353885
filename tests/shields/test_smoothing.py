"""Randomised smoothing: its certificates against a model whose distance to the boundary is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.rng import Noise
from stalwart.core.shielding import differentiable, reseed


def linear(seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model of two classes, images at several distances, and those distances (L2)."""
    dice = torch.Generator().manual_seed(seed)
    direction = torch.randn(12, generator=dice)
    layer = nn.Linear(12, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([direction, -direction]) / 2)
        layer.bias.zero_()
    x = torch.rand(40, 3, 2, 2, generator=dice)
    unit = direction / direction.norm()
    x = x - (x.flatten(1) @ unit)[:, None, None, None] * unit.view(1, 3, 2, 2)  # on the boundary
    distance = torch.linspace(-0.8, 0.8, 40)
    return nn.Sequential(nn.Flatten(), layer), x + distance[:, None, None, None] * unit.view(1, 3, 2, 2), distance


def test_a_linear_models_certificate_is_its_distance_within_the_bound() -> None:
    """Smoothing leaves a linear model's boundary where it is: Cohen et al., appendix C."""
    model, x, distance = linear()
    shield = catalog.make("smoothing(sigma=0.5, samples=4000, select=100)", "shields")
    proof = shield.certify(model, x, Noise.of_images(x, 0))
    sure = proof.prediction >= 0
    assert (proof.radius[sure] <= distance.abs()[sure]).all()
    assert (proof.radius[~sure] == 0).all()
    assert (proof.prediction[sure] == (distance[sure] < 0).long()).all()
    # How far below the truth the exact bound may be: three standard deviations of the count, and the bound's width.
    share = torch.special.ndtr(distance.abs() / 0.5).clamp(max=1 - 1e-4)
    low = share - 6.2 * (share * (1 - share) / 4000).sqrt() - 0.002
    assert (proof.radius >= 0.5 * torch.special.ndtri(low.clamp_min(0.5)) - 1e-6).all()
    assert float(proof.radius.max()) > 0.65
    assert int((~sure).sum()) <= 6


def test_a_certificate_does_not_depend_on_the_batch() -> None:
    model, x, _ = linear()
    shield = catalog.make("smoothing(sigma=0.5, samples=300)", "shields")
    whole = shield.certify(model, x, Noise.of_images(x, 0))
    parts = [shield.certify(model, part, Noise.of_images(part, 0)) for part in x.split(7)]
    assert torch.equal(whole.radius, torch.cat([part.radius for part in parts]))
    assert torch.equal(whole.prediction, torch.cat([part.prediction for part in parts]))


def test_votes_are_those_of_the_noisy_copies_and_the_twin_is_their_mean_softmax() -> None:
    model, x, distance = linear()
    voting = catalog.make("smoothing(sigma=0.5, n=500)", "shields")(model).eval()
    share = voting(x).exp()
    assert share.sum(1).sub(1).abs().max() < 1e-3
    expected = torch.special.ndtr(distance / 0.5)  # of the first class
    assert (share[:, 0] - expected).abs().max() < 0.08
    twin = differentiable(voting)
    reseed(voting, 5)
    soft = twin(x)
    reseed(voting, 5)
    noise = voting.stream.draw(x)  # type: ignore[union-attr, operator]
    copies = [model(x + 0.5 * noise.fork("copy", k).normal((3, 2, 2))).softmax(1) for k in range(500)]
    assert torch.allclose(soft.exp(), torch.stack(copies).mean(0), atol=1e-4)
    at = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(twin(at)[:, 0].sum(), at)
    assert (slope.flatten(1) @ model[1].weight[0] > 0).all()  # type: ignore[index]


def test_a_model_that_guesses_is_certified_nowhere() -> None:
    class Coin(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            left = images.flatten(1).sum(1) * 1e4
            return torch.stack([left.sin(), -left.sin()], 1)

    x = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    proof = catalog.make("smoothing(samples=500)", "shields").certify(Coin(), x, Noise.of_images(x, 0))
    assert int((proof.prediction >= 0).sum()) <= 1
    assert proof.radius[proof.prediction < 0].sum() == pytest.approx(0)

"""Shielded models and their differentiable twins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stalwart.core.rng import Noise
from stalwart.core.shielding import Shielded, Stream, bare, differentiable, random, reseed, shielded


class Rounded(Shielded):
    def defend(self, images: Tensor) -> Tensor:
        return (images * 7).round() / 7


class Shaken(Shielded):
    random = True

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.stream = Stream()

    def defend(self, images: Tensor) -> Tensor:
        return images + 0.1 * self.stream.draw(images).normal(images.shape[1:])


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 8, 6, generator=torch.Generator().manual_seed(1))


def test_the_twins_slope_is_the_inner_models_at_the_changed_images(images: Tensor) -> None:
    model = net()
    twin = differentiable(Rounded(model))
    x, seen = images.clone().requires_grad_(), ((images * 7).round() / 7).requires_grad_()
    (got,) = torch.autograd.grad(twin(x).square().sum(), x)
    (want,) = torch.autograd.grad(model(seen).square().sum(), seen)
    assert torch.allclose(got, want, atol=1e-6)
    (plain,) = torch.autograd.grad(Rounded(model)(x).square().sum(), x)
    assert (plain == 0).all()


def test_shields_within_shields_and_within_other_modules_are_all_replaced(images: Tensor) -> None:
    inner = net()
    model = nn.Sequential(Rounded(nn.Sequential(Rounded(inner), nn.Tanh())))
    twin = differentiable(model)
    assert torch.allclose(twin(images), model(images), atol=1e-5)
    assert not any(part.straight for part in model.modules() if isinstance(part, Shielded))
    assert sum(part.straight for part in twin.modules() if isinstance(part, Shielded)) == 2
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.zero_()
    assert (twin(images) == 0).all()  # weights are shared, not copied
    assert bare(Rounded(Rounded(inner))) is inner
    assert shielded(model)
    assert not shielded(inner)
    assert differentiable(inner) is inner


def test_a_stream_is_fresh_each_time_and_does_not_depend_on_the_batches(images: Tensor) -> None:
    model = Shaken(nn.Identity())
    assert random(nn.Sequential(model))
    assert not random(Rounded(net()))
    whole = model(images)
    assert not torch.equal(model(images), whole)
    reseed(model, 0)
    first = model(images)
    reseed(model, 0)
    parts = torch.cat([model(images[:1]), model(images[1:4]), model(images[4:])])
    assert torch.equal(first, parts)
    same = images[:1].expand(6, -1, -1, -1)
    shifts = model(same) - same
    assert not torch.allclose(shifts[0], shifts[1])  # copies of one image draw their own numbers


def test_streams_of_two_shields_differ_after_reseeding(images: Tensor) -> None:
    outer = Shaken(Shaken(nn.Identity()))
    reseed(outer, 3)
    numbers = [part.stream.draw(images).uniform() for part in outer.modules() if isinstance(part, Shaken)]
    assert not torch.equal(numbers[0], numbers[1])
    assert isinstance(Stream(1).draw(images), Noise)

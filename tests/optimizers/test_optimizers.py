"""Each optimizer against its equations written out, or against torch's own."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.errors import SpellingError
from stalwart.optimizers.muon import orthogonal

SPELLED = [
    "sgd(lr=0.05)",
    "sgd(lr=0.05, momentum=0)",
    "adam(lr=0.01)",
    "adamw(lr=0.01)",
    "muon(lr=0.05)",
    "lookahead(sgd(lr=0.05), k=3)",
    "lookahead(adamw(lr=0.01), k=2)",
    "lookahead(muon(lr=0.05))",
]


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 3)
        )


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int, first: int = 0) -> float:
    """Some steps on fixed data; gives the last loss."""
    images = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = (images.mean((1, 2, 3)) * 100).long() % 3
    loss = torch.zeros(())
    for number in range(first, first + count):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[number % 4 :: 4]), targets[number % 4 :: 4])
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("spelled", SPELLED)
def test_each_learns(spelled: str) -> None:
    model = net()
    maker = catalog.make(spelled, "optimizers")
    optimizer = maker.build(model)
    assert maker.lr in [group["lr"] for group in optimizer.param_groups]
    first = steps(net(), torch.optim.SGD(net().parameters(), lr=1e-12), 1)
    assert steps(model, optimizer, 80) < 0.6 * first


@pytest.mark.parametrize("spelled", SPELLED)
def test_state_survives_tensors_and_json(spelled: str) -> None:
    """The state splits into tensors and plain values, and training goes on from it to the same bits."""
    whole, halves = net(), net()
    steps(whole, catalog.make(spelled, "optimizers").build(whole), 11)
    before = catalog.make(spelled, "optimizers").build(halves)
    steps(halves, before, 7)
    packed = before.state_dict()
    tensors = {
        (index, name): value.clone()
        for index, values in packed["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    rest = {
        index: {name: value for name, value in values.items() if (index, name) not in tensors}
        for index, values in packed["state"].items()
    }
    groups = json.loads(json.dumps(packed["param_groups"]))
    state = {int(index): values for index, values in json.loads(json.dumps(rest)).items()}
    for (index, name), value in tensors.items():
        state[index][name] = value
    after = catalog.make(spelled, "optimizers").build(halves)
    after.load_state_dict({"state": state, "param_groups": groups})
    steps(halves, after, 4, first=7)
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_trained_parameter_is_in_one_group_and_frozen_ones_in_none() -> None:
    for spelled in SPELLED:
        model = net()
        model[0].weight.requires_grad_(False)
        groups = catalog.make(spelled, "optimizers").build(model).param_groups
        members = [id(parameter) for group in groups for parameter in group["params"]]
        wanted = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
        assert sorted(members) == sorted(wanted), spelled


def test_weight_decay_leaves_norms_and_biases_alone() -> None:
    """With no gradient at all, only the weights shrink."""
    for spelled in ("sgd(lr=0.1, weight_decay=0.5)", "adamw(lr=0.1, weight_decay=0.5)"):
        model = net()
        nn.init.ones_(model[0].bias)
        before = {name: value.clone() for name, value in model.named_parameters()}
        optimizer = catalog.make(spelled, "optimizers").build(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for name, value in model.named_parameters():
            assert torch.equal(value, before[name]) == (value.ndim < 2), (spelled, name)


def test_sgd_bias_scale() -> None:
    model = net()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    catalog.make("sgd(lr=0.01, momentum=0, weight_decay=0, bias_scale=64)", "optimizers").build(model).step()
    for parameter, start in zip(model.parameters(), before, strict=True):
        expected = 0.01 if parameter.ndim >= 2 else 0.64
        torch.testing.assert_close(start - parameter, torch.full_like(start, expected))


@pytest.mark.parametrize("inner", ["sgd(lr=0.1, momentum=0.9)", "adam(lr=0.05)"])
def test_lookahead_is_its_recursion(inner: str) -> None:
    """slow ← slow + α (fast − slow) after each third step, replayed beside the inner optimizer alone."""
    looking, plain = net(), net()
    ahead = catalog.make(f"lookahead({inner}, k=3, alpha=0.25)", "optimizers").build(looking)
    alone = catalog.make(inner, "optimizers").build(plain)
    slow = [parameter.detach().clone() for parameter in plain.parameters()]
    for number in range(7):
        steps(looking, ahead, 1, first=number)
        steps(plain, alone, 1, first=number)
        if (number + 1) % 3 == 0:
            with torch.no_grad():
                for phi, theta in zip(slow, plain.parameters(), strict=True):
                    phi += 0.25 * (theta - phi)
                    theta.copy_(phi)
        for a, b in zip(looking.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_newton_schulz_is_nearly_the_polar_factor(shape: tuple[int, int]) -> None:
    """The same singular vectors as the SVD's, and singular values near 1."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    came = orthogonal(matrix, 5)
    values = torch.linalg.svdvals(came)
    assert float(values.max()) < 1.3
    assert float(values[:-1].min()) > 0.6  # the smallest of a square matrix may need more rounds
    inner = torch.diagonal(u.T @ came @ vh.T)  # its component along each pair of singular vectors
    torch.testing.assert_close(inner, values.sort().values[inner.argsort().argsort()], atol=1e-3, rtol=1e-3)


def test_muon_step_has_the_size_it_says() -> None:
    model = net()
    weight = model[3].weight  # (8, 8, 3, 3)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    before = weight.detach().clone()
    maker = catalog.make("muon(lr=0.1, unit=False)", "optimizers")
    maker.build(model).step()
    moved = torch.linalg.svdvals((before - weight.detach()).flatten(1))
    assert float(moved.max()) < 0.1 * 1.3
    assert float(moved.min()) > 0.1 * 0.5


@pytest.mark.parametrize("wrong", ["sgd(lr=0)", "sgd(momentum=1)", "adam(betas=(0.9, 1.5))", "lookahead(alpha=0)"])
def test_values_out_of_range(wrong: str) -> None:
    with pytest.raises(SpellingError):
        catalog.make(wrong, "optimizers")

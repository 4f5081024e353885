"""Every component of the catalog passes the public checkers, and the checkers catch those that should not."""

from __future__ import annotations

from typing import Any

import cheap
import pytest
import torch
from torch import Tensor, nn

from stalwart.core import catalog, checks
from stalwart.core.contracts import Goal, Signature, Threat, Verdict
from stalwart.core.errors import ContractError
from stalwart.core.rng import Noise

THREATS = {"linf": "linf(8/255)", "l2": "l2(0.5)", "l1": "l1(4.0)", "l0": "l0(5)"}
"""A spelling for each threat that needs a radius; a new one is checked the day its file appears."""


def spelled_threat(name: str) -> str:
    _, fields = catalog.describe(f"threats.{name}")
    return THREATS.get(name, f"{name}()" if all(field.default is not None for field in fields) else f"{name}(0.1)")


def test_the_names_here_are_the_catalogs() -> None:
    assert set(THREATS) <= set(catalog.names("threats"))


@pytest.mark.parametrize("name", catalog.names("threats"))
def test_threats(name: str) -> None:
    checks.threat(catalog.make(spelled_threat(name), "threats"))


@pytest.mark.parametrize(("attack", "threat"), cheap.pairs("linf(8/255)", "l2(0.5)"))
def test_attacks(attack: str, threat: str) -> None:
    checks.attack(catalog.make(attack, "attacks"), catalog.make(threat, "threats"))


TASKS = {
    "classification": ("digits()", "convnet()"),
    "semantic": ("shapes(target='semantic', train=8, size=32)", "dense(width=4, neck=8, depth=1)"),
    "detection": ("shapes(train=8, size=32)", "dense(width=4, neck=8, depth=1)"),
    "instance": ("shapes(train=8, size=32)", "dense(width=4, neck=8, depth=1)"),
    "panoptic": ("shapes(target='panoptic', train=8, size=32)", "dense(width=4, neck=8, depth=1)"),
}
"""For each task data and a model; a new one is checked the day its file appears."""


@pytest.mark.parametrize("name", catalog.names("tasks"))
def test_tasks(name: str) -> None:
    if name not in TASKS:
        pytest.fail(f"task {name!r} has no data and model here: add them to TASKS")
    data, model = TASKS[name]
    examples = catalog.make(data, "data").open("train")
    info = examples.info
    torch.manual_seed(0)
    net = catalog.make(model, "models").build(Signature(len(info.classes), info.channels, info.size, name))
    checks.task(catalog.make(f"{name}()", "tasks"), net.train(), examples)


DENSE = ("adversarial(attack=pgd(steps=2))", "trades(attack=pgd(steps=2))", "awp(fast())")
"""Objectives that serve any task."""


@pytest.mark.parametrize(
    ("objective", "task"),
    [(f"{name}()", "classification") for name in cheap.objectives()]
    + [(objective, task) for objective in DENSE for task in ("semantic", "detection")],
)
def test_objectives(objective: str, task: str) -> None:
    data, model = TASKS[task]
    examples = catalog.make(data, "data").open("train")
    info = examples.info
    torch.manual_seed(0)
    net = catalog.make(model, "models").build(Signature(len(info.classes), info.channels, info.size, task)).train()
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0  # draws from the trainer's seed, which is not here
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    norm.eval()  # as one that its owner has frozen
    norm.bias.requires_grad_(False)
    checks.objective(catalog.make(objective, "objectives"), catalog.make(f"{task}()", "tasks"), net, examples)


class Sphere:
    """A threat that is right, to be broken by its children."""

    epsilon = 0.5

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        return self.project(clean + noise.normal(clean.shape[1:]), clean)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        return images + step * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        shift = images.clamp(0, 1) - clean
        return clean + shift * (self.epsilon / self.size(images.clamp(0, 1), clean)).clamp(max=1)[:, None, None, None]

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return (images - clean).flatten(1).norm(dim=1).clamp_min(1e-12) * (images != clean).any().float()


def broken_threats() -> dict[str, Any]:
    class Leaves(Sphere):
        def project(self, images: Tensor, clean: Tensor) -> Tensor:
            return images.clamp(0, 1)

    class Box(Sphere):
        def project(self, images: Tensor, clean: Tensor) -> Tensor:
            shift = images - clean
            return (
                clean + shift * (self.epsilon / self.size(images, clean)).clamp(max=1)[:, None, None, None] * 1.0 - 0.3
            )

    class OneSize(Sphere):
        def size(self, images: Tensor, clean: Tensor) -> Tensor:
            return (images - clean).norm().expand(len(images))

    class Writes(Sphere):
        def start(self, clean: Tensor, noise: Noise) -> Tensor:
            return clean.add_(0.01)

    class Mates(Sphere):
        def start(self, clean: Tensor, noise: Noise) -> Tensor:
            shift = torch.randn(clean.shape, generator=torch.Generator().manual_seed(len(clean)))
            return self.project(clean + shift, clean)

    return {cls.__name__: cls() for cls in (Leaves, Box, OneSize, Writes, Mates)}


def test_a_users_threat_without_our_base_passes() -> None:
    checks.threat(Sphere())


@pytest.mark.parametrize("name", sorted(broken_threats()))
def test_a_broken_threat_is_caught(name: str) -> None:
    with pytest.raises((ContractError, RuntimeError)):
        checks.threat(broken_threats()[name])


def still(clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
    return clean.clone()


def dice(clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
    return threat.project(clean + torch.rand_like(clean), clean)


def mates(clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
    x = clean.clone().requires_grad_()
    goal(x).loss.sum().backward()
    assert x.grad is not None
    return threat.project(clean + x.grad * len(clean) * 0.001, clean).detach()


def graph(clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
    return clean.clone().requires_grad_() * 1


@pytest.mark.parametrize("attack", [still, dice, mates, graph])
def test_a_broken_attack_is_caught(attack: Any) -> None:
    with pytest.raises(ContractError):
        checks.attack(attack, catalog.make("l2(0.5)", "threats"))


def broken_tasks() -> dict[str, Any]:
    good = catalog.load("tasks.classification")

    class Mean(good):  # type: ignore[misc, valid-type]
        def loss(self, model: nn.Module, images: Tensor, targets: Any, *, smoothing: float = 0.0) -> Tensor:
            return super().loss(model, images, targets).mean()

    class Shared(good):  # type: ignore[misc, valid-type]
        def loss(self, model: nn.Module, images: Tensor, targets: Any, *, smoothing: float = 0.0) -> Tensor:
            each = super().loss(model, images, targets)
            return each + each.sum()

    class Random(good):  # type: ignore[misc, valid-type]
        def loss(self, model: nn.Module, images: Tensor, targets: Any, *, smoothing: float = 0.0) -> Tensor:
            return super().loss(model, images, targets) + torch.rand(len(images))

    class Trains(good):  # type: ignore[misc, valid-type]
        def predict(self, model: nn.Module, images: Tensor) -> Tensor:
            with torch.no_grad():
                next(iter(model.parameters())).add_(1.0)
            return super().predict(model, images)

    class Flat(good):  # type: ignore[misc, valid-type]
        def goal(self, model: nn.Module, targets: Any, kind: str = "", wanted: Any = None) -> Any:
            def one(images: Tensor) -> Verdict:
                return Verdict(torch.zeros(()), torch.zeros(len(images), dtype=torch.bool))

            return one

    class Near(good):  # type: ignore[misc, valid-type]
        def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
            return super().divergence(model, images, others) + 0.1

    class OneSided(good):  # type: ignore[misc, valid-type]
        def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
            with torch.no_grad():
                return super().divergence(model, images, others)

    return {cls.__name__: cls() for cls in (Mean, Shared, Random, Trains, Flat, Near, OneSided)}


def broken_objectives() -> dict[str, Any]:
    def loss(model: nn.Module, task: Any, batch: Any) -> Tensor:
        found: Tensor = task.loss(model, batch.images, batch.targets)
        return found

    def mean(model: nn.Module, task: Any, batch: Any) -> Tensor:
        return loss(model, task, batch).mean()

    def detached(model: nn.Module, task: Any, batch: Any) -> Tensor:
        return loss(model, task, batch).detach().requires_grad_()

    def dicing(model: nn.Module, task: Any, batch: Any) -> Tensor:
        return loss(model, task, batch) * torch.rand(())

    def backward(model: nn.Module, task: Any, batch: Any) -> Tensor:
        loss(model, task, batch).sum().backward()  # type: ignore[no-untyped-call]
        return loss(model, task, batch)

    def thawing(model: nn.Module, task: Any, batch: Any) -> Tensor:
        model.eval()
        model.train()
        return loss(model, task, batch)

    def writing(model: nn.Module, task: Any, batch: Any) -> Tensor:
        batch.images.clamp_(0, 0.9)
        return loss(model, task, batch)

    return {found.__name__: found for found in (mean, detached, dicing, backward, thawing, writing)}


@pytest.mark.parametrize("name", sorted(broken_objectives()))
def test_a_broken_objective_is_caught(name: str) -> None:
    examples = catalog.make("digits()", "data").open("train")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.0).eval())
    with pytest.raises(ContractError):
        checks.objective(broken_objectives()[name], catalog.make("classification()", "tasks"), model, examples)


@pytest.mark.parametrize("name", sorted(broken_tasks()))
def test_a_broken_task_is_caught(name: str) -> None:
    examples = catalog.make("digits()", "data").open("train")
    with pytest.raises(ContractError):
        checks.task(broken_tasks()[name], nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), examples)

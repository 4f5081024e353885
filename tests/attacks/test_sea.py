"""SEA: its slots and losses, its passes, and that the ensemble is no weaker than any of its parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.attacks.sea import LOSSES, SLOTS, sea
from stalwart.core import catalog
from stalwart.core.contracts import Goal, Verdict
from stalwart.core.errors import InputError
from stalwart.core.losses import raising
from stalwart.core.rng import Noise

THREAT = catalog.make("linf(6/255)", "threats")
SEMANTIC = catalog.make("semantic(floor=0.05)", "tasks")


def problem(count: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    """A small map, its images, and targets that it is mostly right on."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).eval()
        images = (torch.rand(count, 3, 12, 10) * 255).round() / 255
        targets = model(images).argmax(1).to(torch.uint8)
        targets[:, :2] = 0
    return model, images, targets


class Heard:
    """A goal that notes which loss was asked for, at how many images, and how far from the clean ones."""

    def __init__(self, goal: Goal, clean: Tensor, log: list[tuple[str, int, float]], kind: str = "own") -> None:
        self.goal, self.clean, self.log, self.kind = goal, clean, log, kind

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    def on(self, model: nn.Module) -> Heard:
        return Heard(self.goal.on(model), self.clean, self.log, self.kind)

    def select(self, index: Tensor) -> Heard:
        return Heard(self.goal.select(index), self.clean[index], self.log, self.kind)

    def raising(self, kind: str) -> Heard:
        found = raising(self.goal, kind)
        assert found is not None
        return Heard(found, self.clean, self.log, kind)

    def __call__(self, images: Tensor) -> Verdict:
        self.log.append((self.kind, len(images), float((images - self.clean).detach().abs().max())))
        return self.goal(images)


def test_three_losses_each_in_a_ball_that_is_drawn_in() -> None:
    model, images, targets = problem(2)
    log: list[tuple[str, int, float]] = []
    goal = Heard(catalog.make("semantic(floor=0.001)", "tasks").goal(model, targets), images, log)
    found = sea(steps=20)(images, goal, THREAT, Noise.of_images(images, 0))
    assert float((found - images).abs().max()) <= 6 / 255 + 1e-6
    for kind in LOSSES:
        sizes = [size for name, _, size in log if name == kind]
        assert len(sizes) == sum(round(share * 20) + 1 for share, _ in SLOTS)
        first = sizes[: round(0.3 * 20) + 1]
        assert 1.5 * 6 / 255 < max(first) <= 2 * 6 / 255 + 1e-6
        assert max(sizes[-(round(0.4 * 20) + 1) :]) <= 6 / 255 + 1e-6
    assert sum(name == "own" for name, *_ in log) == 3


def test_the_ensemble_spoils_each_image_as_much_as_any_of_its_parts() -> None:
    model, images, targets = problem()

    def harm(attack: str | sea, kind: str = "") -> Tensor:
        found = stalwart.attack(model, images, list(targets), attack, THREAT, task=SEMANTIC, goal=kind)
        worst = SEMANTIC.goal(model, targets)(found.adversarial).harm
        assert worst is not None
        return worst

    whole = harm(sea(steps=30))
    clean = SEMANTIC.goal(model, targets)(images).harm
    assert bool((whole > clean + 0.05).all())
    assert float(whole.mean()) >= float(harm("pgd(steps=30)").mean()) - 0.005
    assert float(whole.mean()) >= float(harm("apgd(steps=30)", "divergence").mean()) - 0.005


def test_the_result_says_what_each_loss_brought_down() -> None:
    model, images, targets = problem()
    found = stalwart.attack(model, images, list(targets), sea(steps=10), THREAT, task="semantic(floor=0.5)")
    assert [stage.name for stage in found.stages] == list(LOSSES)
    assert sum(stage.fell for stage in found.stages) == int((found.reached & ~found.clean_reached).sum())
    assert found.backwards == 3 * 5 * (3 + 3 + 4 + 3)


def test_a_task_with_one_loss_is_climbed_once_and_other_threats_are_refused() -> None:
    images = (torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 16, generator=torch.Generator().manual_seed(1)))
    labels = model(images).argmax(1)
    found = stalwart.attack(model, images, labels, sea(steps=10), "linf(0.3)")
    assert bool(found.reached.all())
    with pytest.raises(InputError, match="sea needs a threat of norm L2 or L∞"):
        stalwart.attack(model, images, labels, "sea()", "l1(2.0)")
    with pytest.raises(InputError, match="no goal 'nothing'"):
        raising(SEMANTIC.goal(nn.Conv2d(3, 3, 1), torch.zeros(1, 4, 4, dtype=torch.uint8)), "nothing")

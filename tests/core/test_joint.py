"""Goals of model and detector together, and orthogonal PGD, against what can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stalwart.core import balls, catalog
from stalwart.core.ascent import ascend
from stalwart.core.contracts import Verdict
from stalwart.core.joint import Evading, Guard, Matching
from stalwart.core.rng import Noise


class Line:
    """A detector whose score is a product with the image, weight times the mean of some rows."""

    trained = False

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def fit(self, *given: Any) -> dict[str, Tensor]:
        return {}

    def score(self, model: nn.Module, images: Tensor, fitted: Any) -> Tensor:
        return self.weight * images[:, :, :2].flatten(1).mean(1)


def linear() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def setting(n: int = 40) -> tuple[nn.Module, Tensor, Any]:
    model = linear()
    images = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    with torch.no_grad():
        labels = model(images).argmax(1)
    return model, images, catalog.make("classification()", "tasks").goal(model, labels)


def test_reached_is_wrong_and_silent() -> None:
    _, images, goal = setting(400)
    moved = (images + 0.6 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    scores = Line(1.0).score(nn.Identity(), moved, {})
    threshold = float(scores.median())  # one score is the threshold itself, which is silent still
    verdict = Evading(goal, Guard(Line(1.0), {}, threshold))(moved)
    wrong = goal(moved).reached
    assert verdict.reached is not None
    assert torch.equal(verdict.reached, wrong & (scores <= threshold))
    assert 0 < int(verdict.reached.sum()) < int(wrong.sum())
    assert verdict.gaps is None
    assert verdict.parts is not None
    assert torch.equal((verdict.parts[:, 0] > 0), wrong)
    assert torch.equal(verdict.parts[:, 1] >= 0, scores <= threshold)


def test_the_summed_loss_pulls_only_at_what_is_lacking() -> None:
    _, images, goal = setting(4)
    x = images.clone().requires_grad_()
    (plain,) = torch.autograd.grad(goal(x).loss.sum(), x)
    (silent,) = torch.autograd.grad(Evading(goal, Guard(Line(1.0), {}, 9.0))(x).loss.sum(), x)
    assert torch.equal(silent, plain)
    (both,) = torch.autograd.grad(Evading(goal, Guard(Line(1.0), {}, -9.0, spread=0.5), 2.0)(x).loss.sum(), x)
    (score,) = torch.autograd.grad(Line(1.0).score(nn.Identity(), x, {}).sum(), x)
    assert torch.allclose(both, plain - 2.0 / 0.5 * score, atol=1e-6)
    part = Evading(goal, Guard(Line(1.0), {}, 0.4)).select(torch.tensor([2, 0]))(images[[2, 0]])
    assert torch.allclose(part.loss, Evading(goal, Guard(Line(1.0), {}, 0.4))(images).loss[[2, 0]])


def test_a_detector_that_never_fires_leaves_the_plain_attack_to_the_bit() -> None:
    _, images, goal = setting()
    threat = catalog.make("linf(0.1)", "threats")
    for guard in (Guard(Line(1.0), {}, math.inf), Guard(Line(0.0), {}, 0.0)):  # without a threshold, and constant
        for attack in ("pgd(steps=8)", "fgsm()"):
            solver = catalog.make(attack, "attacks")
            plain = solver(images, goal, threat, Noise.of_images(images, 0))
            joint = solver(images, Evading(goal, guard), threat, Noise.of_images(images, 0))
            assert torch.equal(joint, plain)


def test_matching_goes_to_the_guides_features() -> None:
    _model, images, goal = setting()
    guide = (images.flip(0).flatten(1),)
    matching = Matching(Evading(goal, Guard(Line(0.0), {}, 0.0)), guide, (2.0,))
    verdict = matching(images)
    expected = -(images.flatten(1) - guide[0]).square().sum(1) / 2.0
    assert torch.allclose(verdict.loss, expected, atol=1e-6)
    threat = catalog.make("linf(0.5)", "threats")

    class Never:
        """The same, which never says that it is done."""

        model = matching.model

        def select(self, index: Tensor) -> Any:
            return self

        def __call__(self, x: Tensor) -> Verdict:
            return Verdict(matching(x).loss, None)

    found = ascend(images, Never(), threat, Noise.of_images(images, 0), steps=60, step=0.03, random_start=False)  # type: ignore[arg-type]
    assert float((found - images.flip(0)).abs().max()) < 0.05


class Two:
    """Two linear parts with slopes 30° apart, each with its bar."""

    model = nn.Identity()

    def __init__(self, bars: tuple[float, float]) -> None:
        self.bars = bars
        self.first, self.second = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)
        self.first[..., 0] = 1.0
        self.second[..., 0], self.second[..., 1] = -math.cos(math.pi / 6), math.sin(math.pi / 6)
        self.seen: list[Tensor] = []

    def select(self, index: Tensor) -> Two:
        return self

    def __call__(self, images: Tensor) -> Verdict:
        self.seen.append(images.detach().clone())
        parts = [
            (images * slope).flatten(1).sum(1) - bar
            for slope, bar in zip((self.first, self.second), self.bars, strict=True)
        ]
        return Verdict(parts[0], (parts[0] > 0) & (parts[1] > 0), None, torch.stack(parts, 1))


def test_orthogonal_steps_leave_the_other_part_alone() -> None:
    """Under L2 and away from walls each step raises the part that is lacking and leaves the other where it is."""
    clean = torch.full((2, 1, 1, 4), 0.5)
    goal = Two((0.7, -0.1))
    solver = catalog.make("orthogonal(steps=10, step=0.04, random_start=False)", "attacks")
    found = solver(clean, goal, catalog.make("l2(0.9)", "threats"), Noise.of_images(clean, 0))
    for before, after in zip(goal.seen, goal.seen[1:], strict=False):
        first = ((after - before) * goal.first).flatten(1).sum(1)
        second = ((after - before) * goal.second).flatten(1).sum(1)
        lacking = ((before * goal.first).flatten(1).sum(1) - 0.7) <= 0
        assert torch.allclose(torch.where(lacking, second, first), torch.tensor(0.0), atol=1e-6)
        assert bool((torch.where(lacking, first, second) > 0.01).all())
    assert float(balls.norm(found - clean, 2).max()) <= 0.9


def test_orthogonal_reaches_what_pulls_apart() -> None:
    clean = torch.full((3, 1, 1, 4), 0.5)
    goal, threat = Two((0.6, -0.2)), catalog.make("l2(0.6)", "threats")
    with torch.no_grad():
        assert not bool(goal(clean).reached.any())
    found = catalog.make("orthogonal(steps=60)", "attacks")(clean, goal, threat, Noise.of_images(clean, 0))
    assert bool(goal(found).reached.all())


@pytest.mark.parametrize("threat", ["linf(0.1)", "l2(0.3)"])
def test_orthogonal_of_a_goal_that_is_one_thing_is_pgd(threat: str) -> None:
    _, images, goal = setting()
    around, noise = catalog.make(threat, "threats"), Noise.of_images(images, 0)
    ours = catalog.make("orthogonal(steps=5, step=0.3)", "attacks")(images, goal, around, noise)
    peer = catalog.make("pgd(steps=5, step=0.3)", "attacks")(images, goal, around, noise)
    assert torch.allclose(ours, peer, atol=1e-6)

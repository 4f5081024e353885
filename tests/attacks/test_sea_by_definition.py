"""SEA beside its definition, written down once more in plain steps: one image, one loss, one radius at a time.

Losses and schedule of Croce, Singh and Hein, "Towards reliable evaluation and fast training of robust semantic
segmentation models" (ECCV 2024); Auto-PGD of Croce and Hein (ICML 2020), algorithm 1, on the L∞ ball.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stalwart.attacks.sea import sea
from stalwart.core import catalog
from stalwart.core.contracts import Goal, Verdict
from stalwart.core.losses import raising
from stalwart.core.rng import Noise

EPSILON = 30 / 255
STEPS = 30
VOID = 255


def js(z: Tensor, y: Tensor) -> Tensor:
    """The mean over pixels of JS(softmax(z), e_y), its two KL terms written out. z (K, P), y (P,)."""
    p, e = z.softmax(0), nn.functional.one_hot(y, len(z)).T.to(z.dtype)
    m = (p + e) / 2
    of_p = (p * (p / m).log()).sum(0)
    of_e = (e * (torch.where(e > 0, e, 1.0) / m).log()).sum(0)
    return ((of_p + of_e) / 2).mean()


def masked(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the pixels that are right still, over the number of all pixels."""
    right = z.argmax(0) == y
    return nn.functional.cross_entropy(z.T, y, reduction="none")[right].sum() / len(y)


def balanced(z: Tensor, y: Tensor) -> Tensor:
    """The same, each class weighing as much as any other: by the number of its pixels."""
    right = z.argmax(0) == y
    each = nn.functional.cross_entropy(z.T, y, reduction="none") * right
    classes = y.unique()
    return torch.stack([each[y == k].sum() / (y == k).sum() for k in classes]).sum() / len(classes)


PLAIN = {"divergence": js, "masked": masked, "balanced": balanced}


def valued(model: nn.Module, x: Tensor, y: Tensor, loss: str) -> tuple[float, Tensor]:
    """A loss and its slope at one image (C, H, W)."""
    x = x.clone().requires_grad_()
    z, counts = model(x[None])[0].flatten(1), y.flatten() != VOID
    value = PLAIN[loss](z[:, counts], y.flatten()[counts].long())
    (slope,) = torch.autograd.grad(value, x)
    return float(value.detach()), slope


def auto_pgd(model: nn.Module, clean: Tensor, y: Tensor, loss: str, epsilon: float, n: int, x: Tensor) -> Tensor:
    """Algorithm 1, with the integer checkpoints of its authors' program."""

    def inside(point: Tensor) -> Tensor:
        return point.clamp(clean - epsilon, clean + epsilon).clamp(0, 1)

    x = inside(x)
    value, slope = valued(model, x, y, loss)
    best, top, top_slope = x, value, slope
    before, step = x, 2 * epsilon
    k, rises, since, halved, at_check = max(int(0.22 * n), 1), 0, 0, True, value
    for i in range(n):
        z = inside(x + step * slope.sign())
        new = z if i == 0 else inside(x + 0.75 * (z - x) + 0.25 * (x - before))
        before, last = x, value
        x = new
        value, slope = valued(model, x, y, loss)
        rises += value > last
        if value > top:
            best, top, top_slope = x, value, slope
        since += 1
        if since == k:
            halved = rises <= 0.75 * k or (not halved and at_check >= top)
            if halved:
                step, x, value, slope = step / 2, best, top, top_slope
            at_check, rises, since = top, 0, 0
            k = max(k - max(int(0.03 * n), 1), max(int(0.06 * n), 1))
    return best


class Watched:
    """A goal that goes on whatever is reached, and keeps where each loss began."""

    def __init__(self, goal: Goal, starts: dict[str, Tensor], kind: str = "") -> None:
        self.goal, self.starts, self.kind = goal, starts, kind

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    def on(self, model: nn.Module) -> Watched:
        return Watched(self.goal.on(model), self.starts, self.kind)

    def select(self, index: Tensor) -> Watched:
        return Watched(self.goal.select(index), self.starts, self.kind)

    def raising(self, kind: str) -> Watched:
        found = raising(self.goal, kind)
        assert found is not None
        return Watched(found, self.starts, kind)

    def __call__(self, images: Tensor) -> Verdict:
        if self.kind:
            self.starts.setdefault(self.kind, images.detach().clone())
        return replace(self.goal(images), reached=None)


@pytest.fixture(scope="module")
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 3, 3, padding=1)).eval()
        images = (torch.rand(4, 3, 9, 8) * 255).round() / 255
        targets = model(images).argmax(1).to(torch.uint8)
        targets[:, 0] = VOID
        targets[:, 1] = 0
    return model, images, targets


@pytest.mark.parametrize("kind", list(PLAIN))
def test_the_losses_are_the_paper_s(problem: tuple[nn.Module, Tensor, Tensor], kind: str) -> None:
    model, images, targets = problem
    x = images.clone().requires_grad_()
    verdict = catalog.make("semantic()", "tasks").goal(model, targets, kind)(x)
    (slope,) = torch.autograd.grad(verdict.loss.sum(), x)
    for row in range(len(images)):
        value, by_hand = valued(model, images[row], targets[row], kind)
        assert float(verdict.loss[row].detach()) == pytest.approx(value, rel=1e-4, abs=1e-6)
        assert torch.allclose(slope[row], by_hand, rtol=1e-3, atol=1e-6)


def test_it_ends_where_the_plain_steps_end(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, targets = problem
    starts: dict[str, Tensor] = {}
    goal = catalog.make("semantic()", "tasks").goal(model, targets)
    threat = catalog.make("linf(30/255)", "threats")
    found = sea(steps=STEPS)(images, Watched(goal, starts), threat, Noise.of_images(images, 0))
    assert set(starts) == set(PLAIN)
    by_hand = []
    for row in range(len(images)):
        most, worst = -1.0, images[row]
        for kind in ("divergence", "masked", "balanced"):
            x = starts[kind][row]
            for n, times in ((9, 2.0), (9, 1.5), (12, 1.0)):  # 3 : 3 : 4 of 30 steps
                x = auto_pgd(model, images[row], targets[row], kind, times * EPSILON, n, x)
            wrong = float(goal.select(torch.tensor([row]))(x[None]).harm[0])  # type: ignore[index]
            if wrong > most:
                most, worst = wrong, x
        by_hand.append(worst)
    plain = torch.stack(by_hand)
    ours, theirs = goal(found).harm, goal(plain).harm
    assert ours is not None
    assert theirs is not None
    clean = goal(images).harm
    assert bool((theirs > clean + 0.05).all()), "an attack that does something"
    assert torch.allclose(ours, theirs, atol=0.02)
    same = ((found - plain).abs() < 1e-4).float().flatten(1).mean(1)
    assert float(same.median()) > 0.99, "the same point, but where a slope of almost nothing has another sign"

"""Auto-PGD against a slow twin in float64, a peer, and the model's own bounds; swift against APGD's full budget."""

from __future__ import annotations

import sys
import types
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import adaptive, losses, sparse
from stalwart.core.contracts import Verdict
from stalwart.core.looks import LOSSES
from stalwart.core.rng import Noise
from stalwart.threats.l1 import l1
from stalwart.threats.linf import linf

sys.path.append(str(Path(__file__).parents[1] / "run"))
from zoo import BUILDERS, digits, learn


@cache
def problem(hardened: float = 0.15) -> tuple[nn.Module, Tensor, Tensor]:
    images, labels = digits()
    return learn(BUILDERS["convolutional"], hardened=hardened), images[1400:1600], labels[1400:1600]


class Bowl:
    """A goal with a smooth loss, −‖W (x − peak)‖², that is never reached."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(1)
        self.weights = (torch.rand(shape, generator=generator) * 30 + 0.1).to(dtype)
        self.peak = torch.rand(shape, generator=generator).to(dtype)
        self.model = nn.Identity()

    def on(self, model: nn.Module) -> Bowl:
        return self

    def select(self, index: Tensor) -> Bowl:
        return self

    def __call__(self, x: Tensor) -> Verdict:
        loss = -(self.weights * (x - self.peak)).square().flatten(1).sum(1)
        return Verdict(loss, torch.zeros(len(x), dtype=torch.bool))


def twin(clean: Tensor, start: Tensor, goal: Bowl, epsilon: float, steps: int) -> Tensor:
    """Algorithm 1 of the paper for one image, line by line: W = {0, p₁, p₂, ...} and conditions 1 and 2."""
    share, checkpoints = [0.0, 0.22], [0, max(int(0.22 * steps), 1)]
    period = checkpoints[1]
    del share
    while checkpoints[-1] < steps:
        period = max(period - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
        checkpoints.append(checkpoints[-1] + period)

    def f(x: Tensor) -> float:
        return float(goal(x[None]).loss)

    def slope(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(goal(x[None]).loss.sum(), x)[0]

    def onto(x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, clean - epsilon), clean + epsilon).clamp(0, 1)

    eta, x, before = 2 * epsilon, start, start
    best, best_loss = x, f(x)
    checked_loss, checked_eta, halved, rises, last = best_loss, eta, True, 0, 0
    del checked_eta
    for k in range(steps):
        alpha = 0.75 if k else 1.0
        z = onto(x + eta * slope(x).sign())
        fresh = onto(x + alpha * (z - x) + (1 - alpha) * (x - before))
        rises += f(fresh) > f(x)
        before, x = x, fresh
        if f(x) > best_loss:
            best, best_loss = x, f(x)
        if k + 1 in checkpoints:
            first = rises <= 0.75 * (k + 1 - last)
            second = not halved and checked_loss >= best_loss
            halved = first or second
            if halved:
                eta, x = eta / 2, best
            checked_loss, rises, last = best_loss, 0, k + 1
    return best


@pytest.mark.parametrize("steps", [10, 40, 100])
def test_it_goes_where_the_papers_algorithm_goes(steps: int) -> None:
    clean = torch.rand(5, 2, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    goal, threat = Bowl((2, 4, 3)), linf(0.2)
    start = threat.start(clean, Noise.of_images(clean, 0))
    found = adaptive.climb(clean, goal, threat, Noise.of_images(clean, 1), steps=steps, loss="ce", start=start)
    for i in range(len(clean)):
        expected = twin(clean[i], start[i], goal, 0.2, steps)
        assert torch.allclose(found[i], expected, atol=1e-9)


class Slope:
    """A goal with the loss ⟨w, x⟩, that is never reached."""

    def __init__(self, weights: Tensor) -> None:
        self.weights, self.model = weights, nn.Identity()

    def on(self, model: nn.Module) -> Slope:
        return self

    def select(self, index: Tensor) -> Slope:
        return self

    def __call__(self, x: Tensor) -> Verdict:
        return Verdict((self.weights * x).flatten(1).sum(1), torch.zeros(len(x), dtype=torch.bool))


@pytest.mark.parametrize("epsilon", [0.3, 2.0, 9.0])
def test_under_l1_it_finds_the_highest_point_of_a_slope(epsilon: float) -> None:
    """Which is known: entries go to their wall in the order of their slopes until ε is spent."""
    generator = torch.Generator().manual_seed(4)
    weights = torch.randn((3, 6, 5), generator=generator, dtype=torch.float64)
    clean = torch.rand((4, 3, 6, 5), generator=generator, dtype=torch.float64)
    goal = Slope(weights)
    found = sparse.climb(clean, goal, l1(epsilon), Noise.of_images(clean, 0), steps=100, raise_=LOSSES["ce"])
    assert (l1(epsilon).size(found, clean) <= epsilon * (1 + 1e-9)).all()
    assert 0 <= found.min() <= found.max() <= 1
    for i in range(len(clean)):
        room = torch.where(weights > 0, 1 - clean[i], clean[i]).flatten()
        order = weights.abs().flatten().argsort(descending=True)
        before = room[order].cumsum(0) - room[order]
        spent = (epsilon - before).clamp_min(0).minimum(room[order])
        most = float((spent * weights.abs().flatten()[order]).sum())
        gained = float(goal(found[i : i + 1]).loss - goal(clean[i : i + 1]).loss)
        assert 0.92 * most <= gained <= most * (1 + 1e-9)


@pytest.mark.parametrize(("loss", "targets"), [("ce", 0), ("dlr", 3)])
def test_under_l1_it_is_as_strong_as_a_peer_at_equal_steps(loss: str, targets: int) -> None:
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))
    sys.modules["visdom"].Visdom = getattr(sys.modules["visdom"], "Visdom", object)  # type: ignore[attr-defined]
    attacks = pytest.importorskip("adv_lib.attacks")
    model, x, y = problem()
    ours = stalwart.attack(model, x, y, f"apgd(steps=40, loss={loss!r}, targets={targets})", "l1(3)", bits=None)
    torch.manual_seed(0)
    if targets:
        peer = attacks.apgd_targeted(
            model, x, y, eps=3.0, norm=1, n_iter=40, loss_function=loss, num_targets=targets, use_large_reps=True
        )
    else:
        peer = attacks.apgd(model, x, y, eps=3.0, norm=1, n_iter=40, loss_function=loss, use_large_reps=True)
    with torch.no_grad():
        left = float((model(peer).argmax(1) == y).float().mean())
    assert ours.robust_accuracy <= left + 0.03  # seeds differ by that much
    assert (
        ours.robust_accuracy < stalwart.attack(model, x, y, "pgd(steps=40)", "l1(3)", bits=None).robust_accuracy + 0.01
    )
    assert ours.size.max() <= 3 * (1 + 1e-4)


@pytest.mark.parametrize(("threat", "norm", "epsilon"), [("linf(0.1)", "Linf", 0.1), ("l2(0.8)", "L2", 0.8)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_it_is_as_strong_as_a_peer_at_equal_steps(threat: str, norm: str, epsilon: float, loss: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = problem()
    ours = stalwart.attack(model, x, y, f"apgd(steps=25, loss={loss!r})", threat, bits=None)
    peer = torchattacks.APGD(model, norm=norm, eps=epsilon, steps=25, loss=loss, seed=0)(x, y)
    with torch.no_grad():
        left = float((model(peer).argmax(1) == y).float().mean())
    assert ours.robust_accuracy <= left + 0.03  # seeds differ by that much


def test_towards_all_rivals_is_as_strong_as_a_peer() -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = problem()
    x, y = x[:100], y[:100]
    ours = stalwart.attack(model, x, y, "apgd(steps=15, loss='dlr', targets=9)", "linf(0.1)", bits=None)
    peer = torchattacks.APGDT(model, norm="Linf", eps=0.1, steps=15, n_classes=10, seed=0)(x, y)
    with torch.no_grad():
        left = float((model(peer).argmax(1) == y).float().mean())
    assert ours.robust_accuracy <= left + 0.01


class Changed(nn.Module):
    def __init__(self, inner: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.inner, self.scale, self.shift = inner, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * self.scale + self.shift
        return out


@pytest.mark.parametrize("attack", ["apgd(steps=20, loss='dlr')", "apgd(steps=20, loss='margin')", "swift(steps=20)"])
@pytest.mark.parametrize(("scale", "shift"), [(3000.0, 0.0), (1.0, -100.0)])
def test_no_scale_or_shift_of_the_logits_hides_anything(attack: str, scale: float, shift: float) -> None:
    model, x, y = problem()
    plain = stalwart.attack(model, x, y, attack, "linf(0.1)")
    changed = stalwart.attack(Changed(model, scale, shift), x, y, attack, "linf(0.1)")
    assert changed.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.011)


@pytest.mark.parametrize(
    "attack", ["apgd(steps=12)", "apgd(steps=6, targets=3, loss='dlr')", "swift(steps=6, targets=2)"]
)
@pytest.mark.parametrize("threat", ["linf(0.1)", "l2(0.8)"])
def test_each_image_has_its_own_climb(attack: str, threat: str) -> None:
    model, x, y = problem()
    whole = stalwart.attack(model, x, y, attack, threat)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    split = stalwart.attack(model, x[order], y[order], attack, threat, batch=37)
    assert int((split.reached != whole.reached[order]).sum()) <= 1  # the last bit of a convolution may turn a sign


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_no_trouble(classes: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 5 * 7, classes))
    x = torch.rand(20, 3, 5, 7)
    y = model(x).argmax(1)
    for attack in ("apgd(steps=10, loss='dlr')", "apgd(steps=10, loss='dlr', targets=9)", "swift(steps=10)"):
        assert stalwart.attack(model, x, y, attack, "linf(0.3)").robust_accuracy == 0


@pytest.mark.parametrize("hardened", [0.0, 0.15])
@pytest.mark.parametrize("threat", ["linf(0.1)", "l2(0.8)"])
def test_swift_finds_what_the_full_budget_finds_for_a_part_of_it(hardened: float, threat: str) -> None:
    model, x, y = problem(hardened)
    full = stalwart.attack(model, x, y, "apgd(steps=50, loss='dlr', targets=9)", threat)
    quick = stalwart.attack(model, x, y, "swift(steps=30, targets=3)", threat)
    assert quick.robust_accuracy <= full.robust_accuracy + 0.005
    standing = max(1, int((~full.reached).sum()))
    assert (quick.backwards - full.backwards) / standing < -200


def test_under_l1_swift_finds_nearly_what_the_full_budget_finds() -> None:
    model, x, y = problem(0.15)
    x, y = x[:80], y[:80]
    full = stalwart.attack(model, x, y, "apgd(steps=40, loss='dlr', targets=9)", "l1(1.5)")
    quick = stalwart.attack(model, x, y, "swift(steps=20, targets=3)", "l1(1.5)")
    assert quick.robust_accuracy <= full.robust_accuracy + 1.01 / 80  # an image
    assert quick.backwards < 0.5 * full.backwards
    assert quick.size.max() <= 1.5 * (1 + 1e-4)
    easy = stalwart.attack(model, x, y, "swift()", "l1(6)")
    assert easy.robust_accuracy == 0
    assert easy.backwards < 10 * len(x)  # in wider balls first each would take 15, though it fell at the first look


def test_losses_of_gaps_are_those_of_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 6, generator=generator, dtype=torch.float64) * 5
    labels = torch.randint(0, 6, (50,), generator=generator)
    own = logits.gather(1, labels[:, None])
    gaps = (logits - own).scatter(1, labels[:, None], -torch.inf)
    order = logits.sort(1, descending=True).values
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    rival = (labels + 1) % 6
    assert torch.allclose(losses.cross_entropy(gaps), nn.functional.cross_entropy(logits, labels, reduction="none"))
    assert torch.allclose(losses.margin(gaps), other - own[:, 0])
    assert torch.allclose(losses.dlr(gaps), (other - own[:, 0]) / (order[:, 0] - order[:, 2]))
    towards = (logits.gather(1, rival[:, None]) - own)[:, 0] / (order[:, 0] - (order[:, 2] + order[:, 3]) / 2)
    assert torch.allclose(losses.dlr_toward(gaps, rival), towards)
    assert torch.equal(losses.rivals(gaps, 9)[:, 0], logits.scatter(1, labels[:, None], -torch.inf).argmax(1))
    assert losses.rivals(gaps, 9).shape == (50, 5)

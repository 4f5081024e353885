"""One change for all images: it is one, it is the best there is where that is known, and it needs no order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core.errors import InputError


class Linear(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        w = torch.randn(4, 3 * 7 * 6, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("w", w)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.w.T


def grey(n: int) -> Tensor:
    noise = torch.rand(n, 3, 7, 6, generator=torch.Generator().manual_seed(1))
    return ((0.35 + 0.3 * noise) * 255).round() / 255


@pytest.mark.parametrize(("threat", "epsilon"), [("linf", 16 / 255), ("l2", 1.0)])
def test_every_image_gets_the_same_change_within_the_threat(threat: str, epsilon: float) -> None:
    model, clean = Linear(), grey(50)
    labels = model(clean).argmax(1)
    found = stalwart.attack(model, clean, labels, "universal(steps=50, batch=16)", f"{threat}({epsilon})", batch=8)
    change = found.adversarial - clean
    assert (change - change[:1]).abs().max() <= 1.01 / 255  # rounding to 8 bits is each image's own
    assert found.worst_size <= epsilon * 1.001
    assert found.reached.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_finds_the_best_change_of_a_linear_model(norm: str) -> None:
    """All images of one class of two: the best change is known, and what it reaches too."""
    model = nn.Sequential(Linear(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    clean = grey(300)
    clean = clean[model(clean).argmax(1) == 0]
    slope = model[0].w[1] - model[0].w[0]
    epsilon = {"linf": 2 / 255, "l2": 0.1}[norm]
    gain = epsilon * (slope.abs().sum() if norm == "linf" else slope.norm())
    z = model(clean)
    best = (z[:, 1] - z[:, 0] + gain > 0).float().mean().item()
    assert 0.1 < best < 0.9
    labels = torch.zeros(len(clean), dtype=torch.int64)
    found = stalwart.attack(model, clean, labels, "universal(steps=60)", f"{norm}({epsilon})", bits=None)
    assert found.reached.float().mean().item() == pytest.approx(best, abs=0.02)


def test_neither_order_nor_the_runners_batches_change_it() -> None:
    model, clean = Linear(), grey(40)
    labels = model(clean).argmax(1)
    whole = stalwart.attack(model, clean, labels, "universal(steps=20, batch=8)", "l2(0.5)", seed=3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    parts = stalwart.attack(
        model, clean[order], labels[order], "universal(steps=20, batch=8)", "l2(0.5)", seed=3, batch=7
    )
    assert torch.equal(parts.reached, whole.reached[order])
    assert (parts.adversarial - whole.adversarial[order]).abs().max() < 1.5 / 255


def test_only_the_last_change_counts() -> None:
    """What an earlier step brought down but the final change does not is no success of one change."""
    model, clean = Linear(), grey(60)
    labels = model(clean).argmax(1)
    found = stalwart.attack(model, clean, labels, "universal(steps=40, step=1.0, batch=4)", "linf(24/255)")
    changes = {
        tuple(((a - c) * 255).round().int().flatten().tolist()) for a, c in zip(found.adversarial, clean, strict=True)
    }
    assert len(changes) == 1


class Blob(nn.Module):
    """Class 1 where any 3 × 3 window is bright red, wherever it is."""

    def forward(self, x: Tensor) -> Tensor:
        red = nn.functional.avg_pool2d(x[:, :1] - x[:, 1:2], 3, 1).flatten(1)
        score = torch.logsumexp(red * 20, 1) / 20
        return torch.stack([torch.full_like(score, 0.5), score], 1)


def test_under_a_patch_it_is_one_patch_that_works_wherever_it_lies() -> None:
    clean = (torch.rand(30, 3, 16, 12, generator=torch.Generator().manual_seed(2)) * 255).round() / 255 * 0.5
    clean = (clean * 255).round() / 255
    labels = torch.zeros(30, dtype=torch.int64)
    threat = "patch(0.14, rotation=45, scale=0.2, brightness=0.2)"
    assert not stalwart.attack(Blob(), clean, labels, "universal(steps=1)", "patch(0.0)").reached.any()
    found = stalwart.attack(Blob(), clean, labels, "universal(steps=40, batch=10)", threat)
    assert found.reached.float().mean() > 0.9
    places = {int(row) for row in (found.adversarial != clean).any(1).any(2).float().argmax(1)}
    assert len(places) > 3


@pytest.mark.parametrize("start", ["plain", "random"])
def test_without_steps_a_patch_is_a_control(start: str) -> None:
    """It lies where the sought one would, all pictures bear the same, and neither order nor the model plays a part."""
    clean = (torch.rand(12, 3, 16, 12, generator=torch.Generator().manual_seed(2)) * 110).round() / 255
    labels = torch.zeros(12, dtype=torch.int64)
    control, threat = f"universal(steps=0, start={start!r})", "patch(0.14)"
    found = stalwart.attack(Blob(), clean, labels, control, threat).adversarial
    sought = stalwart.attack(Blob(), clean, labels, "universal(steps=20, batch=12)", threat).adversarial
    borne = []
    for before, after, other in zip(clean, found, sought, strict=True):
        rows, columns = (after != before).any(0).nonzero().unbind(1)
        box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        borne.append(after[:, *box])
        outside = torch.ones(16, 12, dtype=torch.bool)
        outside[box] = False
        assert torch.equal(other[:, outside], before[:, outside])
    assert all(torch.equal(one, borne[0]) for one in borne)
    assert borne[0].shape == (3, 5, 5)
    grey_ = (borne[0] - 0.5).abs().max() <= 0.51 / 255
    assert bool(grey_) == (start == "plain")
    if start == "random":
        assert 0.2 < borne[0].std() < 0.4  # uniform in [0, 1] has 0.289
        again = stalwart.attack(Blob(), clean.flip(0), labels, control, threat, seed=0).adversarial.flip(0)
        other_seed = stalwart.attack(Blob(), clean, labels, control, threat, seed=1).adversarial
        assert torch.equal(again, found)
        assert not torch.equal(other_seed, found)


def test_threats_without_a_round_ball_are_refused() -> None:
    model, clean = Linear(), grey(4)
    with pytest.raises(InputError, match="universal needs a threat of norm L2 or L∞"):
        stalwart.attack(model, clean, model(clean).argmax(1), "universal()", "l1(4.0)")

"""Classification's losses and figures against brute force, and its goals against what they promise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Info
from stalwart.core.errors import ContractError, InputError

TASK = catalog.make("classification()", "tasks")


class Given(nn.Module):
    """Gives the logits it was made with, as a function of the images' first values."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[x.flatten(1)[:, 0].long()] + 0 * x.sum()


def place(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1)


def goal_of(logits: Tensor, labels: Tensor, kind: str, wanted: Tensor | None = None):  # type: ignore[no-untyped-def]
    return TASK.goal(Given(logits), labels, kind, wanted)(place(len(logits)))


def test_dlr_by_hand() -> None:
    """Croce and Hein 2020, equations 6 and 7, on numbers small enough for paper."""
    z = torch.tensor([[5.0, 3.0, 2.0, -1.0]])
    untargeted = goal_of(z, torch.tensor([0]), "dlr")
    assert untargeted.loss.item() == pytest.approx(-(5 - 3) / (5 - 2))
    targeted = goal_of(z, torch.tensor([0]), "dlr", torch.tensor([2]))
    assert targeted.loss.item() == pytest.approx(-(5 - 2) / (5 - (2 - 1) / 2))


logits = st.lists(st.lists(st.floats(-20, 20), min_size=5, max_size=5), min_size=1, max_size=6).map(torch.tensor)


@settings(deadline=None)
@given(logits, st.floats(-100, 100), st.floats(0.01, 1000), st.integers(0, 4))
def test_margin_says_reached_and_dlr_ignores_shift_and_scale(z: Tensor, shift: float, scale: float, label: int) -> None:
    y = torch.full((len(z),), label)
    margin = goal_of(z, y, "margin")
    clear = margin.loss.abs() > 1e-3
    assert torch.equal((margin.loss > 0)[clear], margin.reached[clear])
    moved = goal_of((z.double() * scale + shift).float(), y, "dlr").loss
    spread = z.sort(1, descending=True).values
    wide = (spread[:, 0] - spread[:, 2]) * min(scale, 1) > 1e-2
    torch.testing.assert_close(goal_of(z, y, "dlr").loss[wide], moved[wide], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", ["cross_entropy", "margin", "dlr"])
def test_targeted_loss_grows_towards_the_wanted_class(kind: str) -> None:
    z = torch.tensor([[4.0, 1.0, 0.0, -2.0, 0.5]])
    y, wanted = torch.tensor([0]), torch.tensor([2])
    nearer = z.clone()
    nearer[0, 2] += 1.0
    assert goal_of(nearer, y, kind, wanted).loss > goal_of(z, y, kind, wanted).loss
    nearer[0, 2] = 9.0
    verdict = goal_of(nearer, y, kind, wanted)
    assert verdict.reached.item()


@pytest.mark.parametrize("kind", ["cross_entropy", "margin", "dlr"])
def test_a_goal_of_some_samples_is_the_part_of_the_whole(kind: str) -> None:
    z = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    y, wanted = torch.arange(8) % 6, (torch.arange(8) + 1) % 6
    index = torch.tensor([6, 1, 3])
    for aim in (None, wanted):
        whole = goal_of(z, y, kind, aim)
        part = TASK.goal(Given(z), y, kind, aim).select(index)(place(8)[index])
        assert torch.equal(part.loss, whole.loss[index])
        assert torch.equal(part.reached, whole.reached[index])


def test_loss_is_the_cross_entropy_of_each_sample() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([0, 1, 2, 1])
    log_p = z.log_softmax(1)
    by_hand = -log_p[torch.arange(4), y]
    torch.testing.assert_close(TASK.loss(Given(z), place(4), y), by_hand)
    smoothed = 0.8 * by_hand - 0.2 * log_p.mean(1)
    torch.testing.assert_close(TASK.loss(Given(z), place(4), y, smoothing=0.2), smoothed)


def test_figures_against_brute_force() -> None:
    rng = torch.Generator().manual_seed(2)
    p = (torch.randn(500, 7, generator=rng) * 2).softmax(1)
    y = torch.randint(0, 7, (500,), generator=rng)
    info = Info("toy", tuple("abcdefg"), "none", "here")
    whole, left, right = (TASK.metric(info) for _ in range(3))
    whole.update(p, y)
    left.update(p[:123], y[:123])
    right.update(p[123:], y[123:])
    left.merge([right.state()])
    figures = whole.compute()
    merged = left.compute()
    assert merged["confusion"] == figures["confusion"]
    assert merged["ece"] == pytest.approx(figures["ece"])
    top = p.argmax(1)
    assert figures["top1"] == pytest.approx((top == y).double().mean().item())
    five = sum(int(y[i]) in p[i].topk(5).indices.tolist() for i in range(500)) / 500
    assert figures["top5"] == pytest.approx(five)
    assert figures["nll"] == pytest.approx(-sum(math.log(float(p[i, y[i]])) for i in range(500)) / 500, rel=1e-5)
    ece = 0.0
    for b in range(15):
        inside = [i for i in range(500) if b / 15 <= float(p[i].max()) < (b + 1) / 15]
        if inside:
            confidence = sum(float(p[i].max()) for i in inside) / len(inside)
            accuracy = sum(int(top[i] == y[i]) for i in inside) / len(inside)
            ece += abs(confidence - accuracy) * len(inside) / 500
    assert figures["ece"] == pytest.approx(ece, abs=1e-6)
    for k, row in enumerate(figures["per_class"]):
        own = y == k
        assert row["n"] == int(own.sum())
        assert row["accuracy"] == pytest.approx((top[own] == k).double().mean().item())
        assert figures["confusion"][k][k] == int(((top == k) & own).sum())


def test_what_is_not_logits_is_refused() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(ContractError, match="logits"):
        TASK.loss(Odd(), place(2), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="integer"):
        TASK.goal(Odd(), torch.tensor([0.5]))
    with pytest.raises(InputError, match="0 images"):
        TASK.metric(Info("toy", ("a", "b"), "", "")).compute()


def test_a_prediction_is_described_in_plain_values() -> None:
    info = Info("toy", ("cat", "dog", "owl"), "", "")
    said = TASK.describe(torch.tensor([[0.2, 0.7, 0.1]]), 0, info)
    assert said["class"] == "dog"
    assert said["confidence"] == pytest.approx(0.7)
    assert [name for name, _ in said["top"]] == ["dog", "cat", "owl"]

"""DDN and FMN against foolbox's, at equal steps on a trained net; the linear models stand in test_minimum_norm.py."""

from __future__ import annotations

import math

import pytest
import torch
from test_peers import trained

import stalwart
from stalwart.core import balls

foolbox = pytest.importorskip("foolbox", reason="foolbox is an oracle of these tests: make setup")

WIDE = {0.0: "l0(64)", 1.0: "l1(64)", 2.0: "l2(8)", math.inf: "linf(1)"}
PEERS = {
    ("ddn", 2.0): "DDNAttack",
    ("fmn", 0.0): "L0FMNAttack",
    ("fmn", 1.0): "L1FMNAttack",
    ("fmn", 2.0): "L2FMNAttack",
    ("fmn", math.inf): "LInfFMNAttack",
}


@pytest.mark.parametrize(("name", "p"), PEERS)
@pytest.mark.parametrize("steps", [20, 60])
def test_no_larger_than_foolboxs_at_equal_steps(name: str, p: float, steps: int) -> None:
    model, images, labels = trained()
    x, y = images[:60], labels[:60]
    ours = stalwart.attack(model, x, y, f"{name}(steps={steps})", WIDE[p], bits=None)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1))
    _, theirs, won = getattr(foolbox.attacks, PEERS[name, p])(steps=steps)(bounded, x, y, epsilons=None)
    size = torch.where(won, balls.norm(theirs - x, p), torch.full((60,), math.inf))
    right = ~ours.clean_reached
    assert ours.reached.all()
    assert ours.size[right].median() <= size[right].median() * 1.005
    both = right & won  # in logarithms, as one sample of sixty that falls into another valley is nearly all of a mean
    assert (ours.size[both] / size[both]).log().mean() <= 0.02
    if p == 2 and name == "fmn":
        return  # the peer's projection divides each norm by itself, and so projects nothing
    assert ours.size[right].median() > 0.6 * size[right].median()  # two searches for one thing


@pytest.mark.parametrize(("name", "p"), PEERS)
def test_more_steps_only_shorten(name: str, p: float) -> None:
    model, images, labels = trained()
    x, y = images[:60], labels[:60]
    few, many = (
        stalwart.attack(model, x, y, f"{name}(steps={steps})", WIDE[p], bits=None).size.mean() for steps in (5, 60)
    )
    assert many < few

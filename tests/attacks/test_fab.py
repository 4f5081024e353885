"""FAB against torchattacks' FAB and against itself; the linear models stand in test_minimum_norm.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_peers import trained
from torch import Tensor

import stalwart
from stalwart.core import catalog

torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is an oracle of these tests: make setup")

WIDE = {2.0: "l2(8)", math.inf: "linf(1)"}


@pytest.mark.parametrize("p", WIDE)
@pytest.mark.parametrize("targeted", [False, True], ids=["any", "targets"])
def test_no_larger_than_the_peers_at_equal_steps(p: float, targeted: bool) -> None:
    model, images, labels = trained()
    x, y, steps = images[:60], labels[:60], 8
    ours = stalwart.attack(model, x, y, f"fab(steps={steps}, targets={9 * targeted})", WIDE[p], bits=None)
    peer = torchattacks.FAB(
        model, norm={2.0: "L2", math.inf: "Linf"}[p], eps=8.0 if p == 2 else 1.0, steps=steps, n_classes=10
    )
    theirs = peer.attack_single_run(x, y)
    if targeted:  # its own loop takes the first success within eps for the smallest
        sizes = []
        for rank in range(2, 11):
            with torch.no_grad():
                peer.target_class = model(x).argsort(1)[:, -rank]
            found = peer.attack_single_run_targeted(x, y)
            with torch.no_grad():
                won = model(found).argmax(1) != y
            size = (found - x).flatten(1).norm(p=p, dim=1)
            sizes.append(torch.where(won, size, torch.full_like(size, math.inf)))
        theirs_size = torch.stack(sizes).amin(0)
    else:
        theirs_size = (theirs - x).flatten(1).norm(p=p, dim=1)
    both = ~ours.clean_reached
    assert ours.reached.all()
    assert ours.size[both].median() <= theirs_size[both].median() * 1.005
    assert ours.size[both].mean() <= theirs_size[both].mean() * 1.005
    # Two searches for one thing: far from each other, and one of them is wrong.
    assert (ours.size[both] / theirs_size[both]).log().abs().median() < 0.03


def test_targets_and_restarts_only_shorten() -> None:
    model, x, y = trained()
    x, y = x[:100], y[:100]
    plain = stalwart.attack(model, x, y, "fab(steps=20)", "linf(1)", bits=None)
    rivals = stalwart.attack(model, x, y, "fab(steps=20, targets=5)", "linf(1)", bits=None)
    again = stalwart.attack(model, x, y, "fab(steps=20, restarts=3)", "linf(1)", bits=None)
    # The first of three runs is the single one, but for what the last pull inwards does.
    assert (again.size <= plain.size * 1.002 + 1e-6).all()
    assert again.size.mean() < plain.size.mean() * 0.999
    assert rivals.size.mean() < plain.size.mean() * 0.995


class Ensemble:
    """An attack that is judged on the way, as an ensemble is, with FAB inside."""

    def __init__(self, spelling: str) -> None:
        self.inner: Any = catalog.make(spelling, "attacks")

    def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Any) -> Tensor:
        given: Tensor = self.inner(clean, goal, threat, noise)
        return given


@pytest.mark.parametrize("bits", [None, 8])
def test_within_lets_go_of_what_the_judge_has_taken_and_of_nothing_else(bits: int | None) -> None:
    model, x, y = trained()
    full = stalwart.attack(model, x, y, "fab(steps=20)", "linf(0.1)", bits=bits)
    judged = stalwart.attack(model, x, y, Ensemble("fab(steps=20, within=True)"), "linf(0.1)", bits=bits)  # type: ignore[arg-type]
    alone = stalwart.attack(model, x, y, "fab(steps=20, within=True)", "linf(0.1)", bits=bits)
    assert 0.1 < full.robust_accuracy < 0.9
    for early in (judged, alone):
        assert early.robust_accuracy <= full.robust_accuracy + 0.01
        assert early.backwards < 0.8 * full.backwards


def test_a_second_run_goes_on_with_those_that_hold_out_alone() -> None:
    model, x, y = trained()
    one = stalwart.attack(model, x, y, "fab(steps=10, within=True)", "linf(0.1)", bits=None)
    two = stalwart.attack(model, x, y, "fab(steps=10, within=True, restarts=2)", "linf(0.1)", bits=None)
    assert (two.reached >= one.reached).all()
    more = two.backwards - one.backwards
    left = int((~one.reached).sum())
    assert left * 10 < more <= left * (11 + 9)

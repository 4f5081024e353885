"""The trainer says when training's own attack buys nothing, and when what it bought is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from stalwart.core.contracts import Event
from stalwart.run import train as trainer
from stalwart.run.train import Training, train


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
        )


def warnings(events: list[Event]) -> list[str]:
    return [event.values["message"] for event in events if event.kind == "warning"]


def held_for(shares: list[float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings of a training whose watching attack leaves these shares, epoch by epoch."""
    left = iter(shares)

    def robust(*_: Any) -> float:
        return next(left)

    monkeypatch.setattr(trainer, "robust", robust)
    settings = Training(epochs=len(shares), optimizer="adamw(lr=0.01)")
    return warnings(list(train("digits()", net(), objective="fast(threat=linf(0.1))", settings=settings)))


def test_a_sudden_fall_is_catastrophic_overfitting(monkeypatch: pytest.MonkeyPatch) -> None:
    [message] = held_for([0.4, 0.45, 0.1], monkeypatch)
    assert "catastrophic overfitting" in message
    assert "from 45.0% to 10.0% in epoch 3" in message


def test_steady_robustness_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held_for([0.3, 0.4, 0.35], monkeypatch) == []


def test_no_robustness_from_the_first_epoch_on(monkeypatch: pytest.MonkeyPatch) -> None:
    [message] = held_for([0.0, 0.0], monkeypatch)
    assert "no robustness" in message


def test_a_real_training_that_attacks_in_vain_is_noticed() -> None:
    """Steps of next to nothing harden nothing, and the watching attack sees it."""
    objective = "fast(threat=linf(0.5), step=0.001, attack=pgd(steps=20))"
    settings = Training(epochs=1, batch=32, optimizer="adamw(lr=0.01)")
    found = warnings(list(train("digits()", net(), objective=objective, settings=settings)))
    assert any("no robustness" in message for message in found)


def test_one_step_under_a_large_radius_buys_nothing_where_several_do() -> None:
    """Digits under L∞ 0.3: with one step the net learns to be right at its end alone, and the trainer says so."""
    settings = Training(epochs=7, batch=32, optimizer="adamw(lr=0.01)", schedule="constant()", precision="fp32")
    one = list(train("digits()", net(), objective="fast(threat=linf(0.3), step=2)", settings=settings))
    assert any("no robustness" in message for message in warnings(one))
    last = [event.values for event in one if event.kind == "epoch"][-1]
    assert last["val_top1"] > 0.8
    assert last["robust_top1"] < 0.05
    several = "adversarial(attack=pgd(steps=5, step=0.4), threat=linf(0.3))"
    fewer = replace(settings, epochs=3)
    many = list(train("digits()", net(), objective=several, settings=fewer))
    assert warnings(many) == []
    assert [event.values for event in many if event.kind == "epoch"][-1]["robust_top1"] > 0.1


def test_training_on_one_step_is_not_watched_by_that_step() -> None:
    """Digits under L∞ 0.3: FGSM's own step finds 28 % right after three epochs, several steps find next to nothing."""
    settings = Training(epochs=3, batch=32, optimizer="adamw(lr=0.01)", schedule="constant()", precision="fp32")
    objective = "adversarial(attack=fgsm(), threat=linf(0.3))"
    events = list(train("digits()", net(), objective=objective, settings=settings))
    assert any("watched by pgd(steps=10), as fgsm()" in e.values["message"] for e in events if e.kind == "note")
    assert any("no robustness" in message for message in warnings(events))
    assert all(event.values["robust_top1"] < 0.1 for event in events if event.kind == "epoch")


def test_an_attack_of_many_steps_watches_itself() -> None:
    settings = Training(epochs=1, max_steps=1, batch=32)
    events = train("digits()", net(), objective="adversarial(attack=apgd(steps=5))", settings=settings)
    assert not any("is watched by" in event.values["message"] for event in events if event.kind == "note")


def test_one_step_asked_of_the_same_image_eight_times_is_one_step() -> None:
    settings = Training(epochs=1, max_steps=1, batch=32)
    objective = "adversarial(attack=eot(fgsm(), n=8), threat=linf(0.3))"
    events = train("digits()", net(), objective=objective, settings=settings)
    assert any("is watched by" in event.values["message"] for event in events if event.kind == "note")

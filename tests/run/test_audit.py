"""Audits: ten broken defences are named, ten honest nets are not called broken."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import BUILDERS, digits, learn, zoo

import stalwart
from stalwart.core import catalog
from stalwart.core.errors import InputError

THREAT = "linf(0.1)"
BROKEN = list(zoo(nn.Identity()))
HONEST = [(name, hardened) for name in BUILDERS for hardened in (0.0, 0.15)]


@cache
def net(name: str, hardened: float = 0.0) -> nn.Module:
    return learn(BUILDERS[name], hardened=hardened)


def held_out(n: int = 60) -> tuple[Tensor, Tensor]:
    images, labels = digits()
    return images[1400 : 1400 + n], labels[1400 : 1400 + n]


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_defence_is_named(name: str) -> None:
    model, check = zoo(net("convolutional"))[name]
    found = stalwart.audit(model, *held_out(), "pgd(steps=10)", THREAT)
    assert found.verdict == "broken", found.says
    assert check in found.faults
    assert found.says.startswith("broken because ")


@pytest.mark.parametrize(("name", "hardened"), HONEST)
def test_no_honest_net_is_called_broken(name: str, hardened: float) -> None:
    found = stalwart.audit(net(name, hardened), *held_out(), "pgd(steps=40)", THREAT)
    assert found.verdict != "broken", found.says
    assert found.lowest <= found.robust_accuracy


def test_scaled_logits_are_attacked_again_by_another_loss() -> None:
    """The figure that saturated softmax hides comes to light, and is that of the honest net beneath."""
    honest = net("convolutional")
    model, _ = zoo(honest)["logits times 3000"]
    fooled = stalwart.audit(model, *held_out(), "pgd(steps=10)", THREAT)
    truth = stalwart.audit(honest, *held_out(), "pgd(steps=40)", THREAT)
    assert fooled.robust_accuracy > truth.lowest + 0.2
    assert fooled.lowest <= truth.lowest + 0.05


def test_a_weak_attack_makes_a_figure_doubtful_and_a_strong_one_trusted() -> None:
    model = net("averaging")
    weak = stalwart.audit(model, *held_out(), "pgd(steps=1, step=0.3)", THREAT)
    strong = stalwart.audit(model, *held_out(), "pgd(steps=40, restarts=2)", THREAT)
    assert weak.verdict == "doubtful"
    assert weak.says.startswith("doubtful because ")
    assert strong.verdict == "trusted"
    assert strong.says == "trusted"


def test_a_batchnorm_that_uses_the_batch_is_named() -> None:
    class Careless(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.batch_norm(x, None, None, training=True)

    model = nn.Sequential(Careless(1), net("convolutional"))
    found = stalwart.audit(model, *held_out(), "pgd(steps=3)", THREAT)
    assert found.verdict == "broken"
    assert "batch-mates" in found.faults


@pytest.mark.parametrize("shield", ["bitdepth(3)", "resizepad(seed=1)"])
def test_a_shield_is_attacked_by_one_who_knows_it(shield: str) -> None:
    model = catalog.make(shield, "shields")(net("convolutional"))
    found = stalwart.audit(model, *held_out(), "pgd(steps=10)", THREAT)
    [check] = [check for check in found.checks if check.name == "through-shield"]
    assert check.gained > 0
    assert "bpda" in check.attack
    assert found.verdict == "broken"
    assert found.lowest < found.robust_accuracy


def test_the_model_is_left_as_it_was() -> None:
    model = learn(BUILDERS["convolutional"], steps=5).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    modes, wants = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    stalwart.audit(model, *held_out(8), "pgd(steps=2)", THREAT)
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == wants
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_no_images_are_refused() -> None:
    with pytest.raises(InputError, match="at least one image"):
        stalwart.audit(net("linear"), torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))


def test_an_audit_of_a_run_is_kept_and_reported(tmp_path: Path) -> None:
    run = tmp_path / "a"
    list(stalwart.train("digits()", "convnet()", settings=stalwart.Training(epochs=1, batch=128), out=run))
    events = list(stalwart.attack_run(run, ["bim(steps=1)"], ["linf(0.1)"], limit=30, audit=20))
    results = [event.values for event in events if event.kind == "result"]
    assert [result["kind"] for result in results] == ["attack", "audit"]
    found = results[1]
    assert found["n"] == 20
    assert found["lowest"] <= found["robust_accuracy"]
    (kept,) = (run / "results").glob("audit-*.json")
    assert json.loads(kept.read_text())["checks"] == found["checks"]
    page = stalwart.report(run).read_text()
    assert "Whether to believe the figures" in page
    assert found["verdict"] in page
    assert all(check["name"] in page for check in found["checks"])

"""Shields around a run's model: three numbers side by side, and certificates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import stalwart
from stalwart.cli.main import run as command
from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.core.spelling import spell
from stalwart.run._three import adaptive, naive
from stalwart.run.certify import curve


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    settings = stalwart.Training(epochs=3, optimizer="adamw(lr=0.01)")
    for _ in stalwart.train("digits()", "convnet(width=8)", settings=settings, out=folder):
        pass
    return folder


def last(events: Any) -> dict[str, Any]:
    return dict(list(events)[-1].values)


def test_three_numbers_expose_a_hidden_slope(run: Path) -> None:
    events = list(stalwart.attack_run(run, ["pgd(steps=10)"], ["linf(0.2)"], shield="bitdepth(2)", limit=150))
    found = dict(events[-1].values)
    bare, naively, known = (found[name] for name in ("without", "naive", "adaptive"))
    assert naively["robust_accuracy"] > known["robust_accuracy"] + 0.3
    assert found["robust_accuracy"] == known["robust_accuracy"]
    assert found["masks"]
    assert "hidden slope" in found["says"]
    assert known["attack"] == "bpda(attack=pgd(steps=10))"
    assert bare["attack"] == naively["attack"] == "pgd(steps=10)"
    plain = [e.values for e in stalwart.attack_run(run, ["pgd(steps=10)"], ["linf(0.2)"], limit=150)][-1]
    assert bare["robust_accuracy"] == plain["robust_accuracy"]
    kept = json.loads((run / "results" / "shield-bitdepth-bits-2-pgd-steps-10-linf-0.2.json").read_text())
    assert kept["adaptive"]["robust_accuracy"] == known["robust_accuracy"]
    progress = [e.values for e in events if e.kind == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 450


def test_a_random_shield_is_attacked_in_expectation_and_repeats_itself(run: Path) -> None:
    twice = [
        last(stalwart.attack_run(run, ["pgd(steps=4)"], ["linf(0.1)"], shield="resizepad()", limit=60)) for _ in "ab"
    ]
    assert twice[0]["adaptive"]["attack"] == "eot(attack=bpda(attack=pgd(steps=4)))"
    for name in ("without", "naive", "adaptive"):
        assert twice[0][name]["curve"] == twice[1][name]["curve"]


def test_an_attack_that_is_spelled_adaptive_is_taken_as_it_is() -> None:
    model = catalog.make("resizepad()", "shields")(torch.nn.Identity())
    own = catalog.make("eot(attack=bpda(attack=fgsm()), n=3)", "attacks")
    assert adaptive(own, model) is own
    assert spell(naive(own)) == "fgsm()"
    votes = catalog.make("smoothing()", "shields")(torch.nn.Identity())
    assert spell(adaptive(catalog.make("fgsm()", "attacks"), votes)) == "bpda(attack=fgsm())"


def test_evaluation_and_prediction_behind_a_shield(run: Path, tmp_path: Path) -> None:
    plain, shielded = last(stalwart.evaluate(run)), last(stalwart.evaluate(run, shield="bitdepth(1)"))
    assert shielded["kind"] == "evaluate-shielded"
    assert shielded["figures"]["top1"] < plain["figures"]["top1"]
    assert (run / "results" / "shielded-test-bitdepth-bits-1.json").is_file()
    images, _ = catalog.make("digits()", "data").open("test").arrays()
    from PIL import Image

    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "a.png")
    [said] = [
        e.values for e in stalwart.predict(run, [tmp_path / "a.png"], shield="bitdepth(2)") if e.kind == "prediction"
    ]
    model = catalog.make("bitdepth(2)", "shields")(stalwart.load(run)).eval()
    with torch.no_grad():
        confidence = model(images[:1].float() / 255).softmax(1).max()
    assert said["confidence"] == pytest.approx(float(confidence), abs=1e-5)


def test_certified_accuracy_falls_with_the_radius(run: Path) -> None:
    shield = "smoothing(sigma=0.25, samples=300, select=50)"
    found = last(stalwart.certify(run, shield, limit=80, batch=80))
    held = [point["certified_accuracy"] for point in found["curve"]]
    assert held == sorted(held, reverse=True)
    assert held[0] == pytest.approx(found["certified_accuracy"])
    assert held[0] > 0.4
    assert found["forwards"] == 80 * (50 + 300)
    assert found["curve"][0]["epsilon"] == 0
    assert found["curve"][-1]["epsilon"] <= 0.25 * torch.special.ndtri(torch.tensor(0.001 ** (1 / 300))) + 1e-6
    assert last(stalwart.certify(run, shield, limit=80, batch=33))["curve"] == found["curve"]
    rows = curve(torch.tensor([-1.0, 0.0, 0.5, 1.0]))
    assert rows[0]["certified_accuracy"] == 0.75
    assert rows[-1]["certified_accuracy"] == 0.25


def test_what_proves_nothing_is_refused(run: Path) -> None:
    with pytest.raises(InputError, match="smoothing"):
        next(iter(stalwart.certify(run, "jpeg()")))


def test_the_commands(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["attack", str(run), "--attack", "fgsm()", "--threat", "linf(0.1)", "--limit", "20", "--shield", "jpeg()"]
    assert command(words) == 0
    said = capsys.readouterr().out
    assert "adaptive" in said
    assert "jpeg()" in said
    assert "masks" in said
    assert command(["certify", str(run), "--shield", "smoothing(samples=50)", "--limit", "10", "--json"]) == 0
    assert '"what": "certify"' in capsys.readouterr().out
    assert command(["certify", str(run), "--shield", "smoothing(samples=50)", "--limit", "10"]) == 0
    assert "L2 radius" in capsys.readouterr().out

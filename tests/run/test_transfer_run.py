"""Transfer between the models of several runs."""

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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name, model, objective in (
        ("plain", "convnet(width=8)", "clean()"),
        ("other", "convnet(width=12)", "clean()"),
        ("hard", "convnet(width=8)", "adversarial(attack=pgd(steps=2), threat=linf(0.2))"),
    ):
        settings = stalwart.Training(epochs=3, optimizer="adamw(lr=0.01)", seed=len(name))
        for _ in stalwart.train("digits()", model, objective=objective, settings=settings, out=folder / name):
            pass
    return [folder / name for name in ("plain", "other", "hard")]


def last(events: Any) -> dict[str, Any]:
    return dict(list(events)[-1].values)


def test_the_matrix_is_what_one_counts_by_hand(runs: list[Path]) -> None:
    """FGSM without a random start: the images of each model are the clean ones moved by ε along the slope's sign."""
    found = last(stalwart.transfers(runs, "fgsm()", "linf(0.2)", limit=None))
    images, labels = catalog.make("digits()", "data").open("test").arrays()
    clean, targets = images.float() / 255, torch.tensor(labels)
    models = [stalwart.load(run) for run in runs]
    for i, source in enumerate(models):
        x = clean.clone().requires_grad_()
        (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(source(x), targets, reduction="sum"), x)
        made = ((clean + 0.2 * slope.sign()).clamp(0, 1) * 255).round() / 255
        for j, asked in enumerate(models):
            with torch.no_grad():
                before, after = asked(clean).argmax(1) == targets, asked(made).argmax(1) == targets
            assert found["untouched"][j] == pytest.approx(before.double().mean().item())
            assert found["accuracy"][i][j] == pytest.approx(after.double().mean().item(), abs=0.006)
            lost = (before & ~after).sum() / before.sum()
            assert found["fooled"][i][j] == pytest.approx(lost.item(), abs=0.006)
    for run in runs:
        kept = json.loads((run / "results" / "transfer-fgsm-linf-0.2.json").read_text())
        assert kept["accuracy"] == found["accuracy"]


def test_what_is_made_against_a_model_hurts_it_most(runs: list[Path]) -> None:
    found = last(stalwart.transfers(runs, "pgd(steps=10)", "linf(0.1)", limit=150))
    for j in range(3):
        column = [found["accuracy"][i][j] for i in range(3)]
        assert column[j] == min(column)
        assert max(column) <= found["untouched"][j]
    assert found["accuracy"][0][1] < found["untouched"][1], "something passes over"


def test_a_rendered_threat_is_judged_by_what_it_shows(runs: list[Path]) -> None:
    found = last(stalwart.transfers(runs[:2], "pgd(steps=4)", "spatial(rotation=60)", limit=60))
    for i in range(2):
        assert found["accuracy"][i][i] < found["untouched"][i] - 0.2
        assert found["accuracy"][i][1 - i] < found["untouched"][1 - i], "a turned digit is turned for all models"
    still = last(stalwart.transfers(runs[:2], "pgd(steps=4)", "spatial(rotation=60, epsilon=0)", limit=60))
    assert still["accuracy"] == [still["untouched"]] * 2


def test_the_command_and_its_report(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [str(run) for run in runs[:2]]
    assert command(["transfer", *pair, "--attack", "pgd(steps=3)", "--threat", "linf(0.1)", "--limit", "40"]) == 0
    assert "made against" in capsys.readouterr().out
    assert command(["report", *pair, "--out", str(tmp_path / "both.html")]) == 0
    assert "What passes from model to model" in (tmp_path / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"paths": ["plain"]}, "two different runs"),
        ({"paths": ["plain", "plain"]}, "two different runs"),
        ({"batch": 0}, "batch"),
    ],
)
def test_mistakes_are_named(runs: list[Path], change: dict[str, Any], words: str) -> None:
    paths = [runs[0].parent / name for name in change.pop("paths", ["plain", "other"])]
    with pytest.raises(InputError, match=words):
        list(stalwart.transfers(paths, **change))

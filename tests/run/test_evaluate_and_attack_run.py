"""Evaluation and attack of a run folder: the figures are those that one gets by hand, and mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import stalwart
from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.run.evaluate import Averaged


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    settings = stalwart.Training(epochs=3, optimizer="adamw(lr=0.01)")
    for _ in stalwart.train("digits()", "convnet(width=8)", settings=settings, out=folder):
        pass
    return folder


def by_hand(run: Path) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    images, labels = catalog.make("digits()", "data").open("test").arrays()
    return stalwart.load(run), images.float() / 255, torch.tensor(labels)


def last(events: Any) -> dict[str, Any]:
    return dict(list(events)[-1].values)


def test_evaluation_is_what_one_counts_by_hand(run: Path) -> None:
    model, images, labels = by_hand(run)
    with torch.no_grad():
        right = (model(images).argmax(1) == labels).double().mean().item()
    result = last(stalwart.evaluate(run))
    assert result["figures"]["top1"] == pytest.approx(right)
    assert result["n"] == len(labels)
    low, high = result["intervals"]["top1"]
    assert low < right < high
    kept = json.loads((run / "results" / "evaluate-test.json").read_text())
    assert kept["figures"]["confusion"] == result["figures"]["confusion"]


def test_views_average_the_logits(run: Path) -> None:
    model, images, _ = by_hand(run)
    some = images[:5]
    with torch.no_grad():
        shifted = torch.nn.functional.pad(some, (1,) * 4, mode="reflect")
        views = [some, shifted[..., :-2, :-2], shifted[..., 2:, 2:]]
        each = [(model(view) + model(view.flip(-1))) / 2 for view in views]
        torch.testing.assert_close(Averaged(model)(some), each[0] / 2 + (each[1] + each[2]) / 4, atol=1e-5, rtol=1e-5)


def test_the_attacks_curve_falls_from_the_clean_accuracy(run: Path) -> None:
    results = [dict(e.values) for e in stalwart.attack_run(run, ["pgd(steps=5)"], ["linf(0.2)", "l2(1.0)"], limit=None)
               if e.kind == "result"]  # fmt: skip
    clean = last(stalwart.evaluate(run))["figures"]["top1"]
    assert [r["threat"] for r in results] == ["linf(0.2)", "l2(1.0)"]
    for result in results:
        held = [point["robust_accuracy"] for point in result["curve"]]
        assert held == sorted(held, reverse=True)
        assert held[0] == result["clean_accuracy"] == pytest.approx(clean)
        assert held[-1] == result["robust_accuracy"] < held[0] - 0.1
        assert result["worst_size"] <= result["epsilon"] * 1.001
        n = sum(row["n"] for row in result["per_class"])
        assert n == result["n"]
        assert sum(row["robust"] * row["n"] for row in result["per_class"]) / n == pytest.approx(held[-1], abs=1e-6)


def test_kept_pictures_are_adversarial_as_saved(run: Path) -> None:
    list(stalwart.attack_run(run, ["pgd(steps=5)"], ["linf(0.2)"], limit=100))
    [file] = list((run / "results").glob("attack-pgd-steps-5*linf*.json"))
    result, pictures = json.loads(file.read_text()), load_file(file.with_suffix(".safetensors"))
    model, images, labels = by_hand(run)
    assert len(result["examples"]) == len(pictures["clean"]) > 0
    assert len({example["target"]["class"] for example in result["examples"]}) > 3  # not all of one class
    for i, example in enumerate(result["examples"]):
        clean, adversarial = (pictures[name][i].float() / 255 for name in ("clean", "adversarial"))
        assert torch.equal(clean, images[_position(example)])
        assert (adversarial - clean).abs().max() <= 0.2 + 1e-6
        with torch.no_grad():
            said = int(model(adversarial[None]).argmax(1))
        assert str(said) == example["adversarial"]["class"] != example["target"]["class"]
        assert example["target"]["class"] == str(int(labels[_position(example)]))


def _position(example: dict[str, Any]) -> int:
    """Where the example stands in the whole split: its name carries it, as `limit` drew some."""
    test = catalog.make("digits()", "data").open("test")
    return next(i for i in range(len(test)) if test[i].name == example["name"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: stalwart.evaluate(run / "none"), "does not exist"),
        (lambda run: stalwart.evaluate(run, split="tset"), "Did you mean 'test'"),
        (lambda run: stalwart.evaluate(run, checkpoint="first"), "first"),
        (lambda run: stalwart.evaluate(run, limit=0), "limit"),
        (lambda run: stalwart.evaluate(run, data="digitz()"), "digits"),
        (lambda run: stalwart.attack_run(run, ["pgd()"], ["linf(0)"]), "ε > 0"),
        (lambda run: stalwart.attack_run(run, ["pgd()"], ["linf(0.1)"], radii=(0.5, 2.0)), "radii"),
        (lambda run: stalwart.attack_run(run, [], ["linf(0.1)"]), "at least one"),
        (lambda run: stalwart.attack_run(run, ["pgd()"], ["linf(0.1)"], goal="nothing"), "goal"),
    ],
)
def test_mistakes_are_named(run: Path, call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(call(run))


def test_data_of_other_classes_are_refused(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(3):
                Image.new("L", (8, 8), 40 * i).save(tmp_path / split / name / f"{i}.png")
    with pytest.raises(InputError, match=r"10 classes .* 2 classes \(cat, dog\)"):
        list(stalwart.evaluate(run, data=f"folder({str(tmp_path)!r}, channels=1)"))

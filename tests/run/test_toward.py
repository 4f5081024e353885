"""Attacks that want one class: what each task takes that to mean, which images count, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import stalwart
from stalwart.cli.main import run as command
from stalwart.core import catalog
from stalwart.core.contracts import Directed, Objects, Signature
from stalwart.core.errors import InputError
from stalwart.core.statistics import wilson
from stalwart.run._subject import open_subject

DIGITS = "digits()"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    options = stalwart.Training(epochs=1, batch=64, max_steps=12, precision="fp32")
    for _ in stalwart.train(DIGITS, "convnet()", settings=options, out=out):
        pass
    return out


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "maps"
    options = stalwart.Training(epochs=2, batch=8, optimizer="adamw(lr=0.01)", precision="fp32")
    data, model = "shapes('semantic', train=16, test=6, size=24, most=2)", "dense(width=4, neck=8, depth=1)"
    for _ in stalwart.train(data, model, task="semantic(floor=0.8)", settings=options, out=out):
        pass
    return out


def result(run: Path, toward: Any, **options: Any) -> dict[str, Any]:
    given = {"limit": 60, "batch": 16, "radii": (0.5,), **options}
    events = stalwart.attack_run(run, ["pgd(steps=5)"], ["linf(0.1)"], toward=toward, **given)
    (found,) = [dict(event.values) for event in events if event.kind == "result"]
    return found


def test_the_share_is_that_of_the_same_attack_on_the_same_images_by_hand(digits: Path) -> None:
    found = result(digits, "3", radii=(1.0,))
    subject = open_subject(digits, limit=60)
    (batch,) = subject.batches(60).epoch(0)
    others = batch.targets != 3
    again = stalwart.attack(
        subject.model, batch.images[others], batch.targets[others], "pgd(steps=5)", "linf(0.1)",
        wanted=torch.full((int(others.sum()),), 3),
    )  # fmt: skip
    n, won = int(others.sum()), int(again.reached.sum())
    assert 0 < won < n < 60
    assert (found["n"], found["toward"], found["reached"]) == (n, "3", pytest.approx(won / n))
    assert found["reached_interval"] == pytest.approx(wilson(won, n))
    assert found["clean_accuracy"] == pytest.approx(1 - float(again.clean_reached.float().mean()))
    said = subject.model(again.adversarial[again.reached]).argmax(1)
    assert bool((said == 3).all())


def test_of_a_map_the_task_s_figure_is_taken_too(maps: Path) -> None:
    found = result(maps, 1, limit=None)
    subject = open_subject(maps)
    (batch,) = subject.batches(8).epoch(0)
    wanted, counted = subject.task.toward(batch.targets, 1)  # type: ignore[attr-defined]
    goal = subject.task.goal(subject.model, batch.targets[counted], wanted=wanted[counted])
    untouched = goal(batch.images[counted])
    assert found["n"] == int(counted.sum())
    assert found["toward"] == subject.examples.info.classes[1]
    assert found["clean_accuracy"] == pytest.approx(1 - float(untouched.reached.float().mean()))
    assert found["reached"] >= 1 - found["clean_accuracy"], "what is won untouched stays won"
    assert found["robust_score"] < found["clean_score"]
    assert [point["robust_accuracy"] for point in found["curve"]] == sorted(
        (point["robust_accuracy"] for point in found["curve"]), reverse=True
    )


def test_objects_with_masks_are_aimed_at_as_those_with_boxes_are() -> None:
    examples = catalog.make("shapes(train=4, size=24)", "data").open("train")
    images = torch.stack([examples[i].image for i in range(4)]) / 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = catalog.make("dense(width=4, neck=8, depth=1)", "models").build(Signature(3, 3, (24, 24), "instance"))
    said = []
    for name in ("detection", "instance"):
        task = catalog.make(f"{name}(threshold=0.01)", "tasks")
        targets = task.collate([examples[i].target for i in range(4)])
        wanted, _ = task.toward(targets, 0)
        said.append([task.goal(model.eval(), targets, kind, wanted)(images) for kind in ("", "mislabel", "fabricate")])
        with pytest.raises(InputError, match=f"{name}: wanted objects are for the goals fabricate and mislabel"):
            task.goal(model, targets, "vanish", wanted)
        with pytest.raises(InputError, match="wanted must be the objects of 4 images"):
            task.goal(model, targets, "", wanted[torch.arange(3)])
    for one, other in zip(*said, strict=True):
        assert torch.equal(one.loss, other.loss)
        assert torch.equal(one.reached, other.reached)
    assert not torch.equal(said[1][1].loss, said[1][2].loss)


def test_a_result_towards_a_class_stands_beside_the_others_and_the_report_words_it(digits: Path) -> None:
    plain = list(stalwart.attack_run(digits, ["pgd(steps=5)"], ["linf(0.1)"], limit=20, radii=()))[-1].values
    found = result(digits, "7", limit=20)
    page = stalwart.report(digits).read_text().replace("\u00a0", " ")
    assert "Towards a class" in page
    assert f"everything taken for “7” on {100 * found['reached']:.1f} % of {found['n']} test images" in page
    assert f"right on {100 * plain['robust_accuracy']:.1f} %" in page, "what an untargeted attack left stays as it was"
    assert len(list((digits / "results").glob("attack-pgd*.json"))) > 1


def test_the_command_says_what_was_won(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["attack", str(digits), "--attack", "pgd(steps=3)", "--threat", "linf(0.1)", "--limit", "20", "--quiet"]
    assert command([*arguments, "--toward", "5"]) == 0
    said = capsys.readouterr().out
    assert "taken for the class" in said
    assert "Audit" not in said
    assert command([*arguments, "--toward", "five"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "toward must be a class's name or a number in 0..9. Got 'five'." in line


@pytest.mark.parametrize("toward", [-1, 10, "10", "-1", "", "²"])
def test_a_class_that_is_not_there_is_refused(digits: Path, toward: Any) -> None:
    with pytest.raises(InputError, match="toward must be a class's name or a number"):
        result(digits, toward)


def test_a_task_without_such_a_goal_and_a_shield_are_refused(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="toward is for models without a shield"):
        result(digits, "3", shield="jpeg()")
    monkeypatch.delattr(type(catalog.make("classification()", "tasks")), "toward")
    with pytest.raises(InputError, match=r"classification\(\) has no goal of one class for everything"):
        result(digits, "3")
    assert not isinstance(catalog.make("panoptic()", "tasks"), Directed)


def test_where_every_image_is_of_the_class_nothing_can_be_won(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = type(catalog.make("classification()", "tasks"))
    monkeypatch.setattr(task, "toward", lambda self, targets, label: (targets, torch.zeros(len(targets)).bool()))
    with pytest.raises(InputError, match="toward='3': expected images that hold another class in split 'test'"):
        result(digits, "3")


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=4), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_objects_of_other_classes_are_wanted_in_their_places(drawn: list[list[tuple[int, bool]]]) -> None:
    task = catalog.make("detection()", "tasks")
    images = [
        Objects(torch.rand(len(one), 4), torch.tensor([k for k, _ in one], dtype=torch.int64),
                crowd=torch.tensor([crowd for _, crowd in one], dtype=torch.bool))
        for one in drawn
    ]  # fmt: skip
    targets = task.collate(images)
    wanted, counted = task.toward(targets, 2)
    for row, one in enumerate(drawn):
        places = [place for place, (label, crowd) in enumerate(one) if label != 2 and not crowd]
        assert bool(counted[row]) == bool(places)
        assert wanted.there[row].nonzero().flatten().tolist() == places
        assert bool((wanted.labels[row][places] == 2).all())
        assert torch.equal(wanted.boxes[row][places], targets.boxes[row][places])


def test_every_pixel_that_counts_is_to_be_of_the_class() -> None:
    task = catalog.make("semantic()", "tasks")
    targets = torch.tensor([[[0, 1], [255, 1]], [[1, 1], [255, 1]], [[255, 255], [255, 255]]], dtype=torch.uint8)
    wanted, counted = task.toward(targets, 1)
    assert counted.tolist() == [True, False, False]
    assert wanted.tolist() == [[[1, 1], [255, 1]], [[1, 1], [255, 1]], [[255, 255], [255, 255]]]
    assert wanted.dtype == torch.uint8

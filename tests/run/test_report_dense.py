"""The report of dense tasks: the task's own figure, curves, classes, and pictures with what is drawn upon them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import stalwart
from stalwart.core.contracts import Drawing, Objects
from stalwart.pages.numbers import percent
from stalwart.pages.overlays import colour, drawn
from stalwart.run._report.drawings import layers_of
from stalwart.run._report.measures import Measure, graded
from stalwart.run._report.recall import chart, recalled
from stalwart.run._report.record import read
from stalwart.run._shown import layers
from stalwart.store.checkpoint import load_tensors, save_tensors

NAMES = ("background", "disc", "square")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance segmenter and a map, trained a little and attacked."""
    root = tmp_path_factory.mktemp("runs")
    options = stalwart.Training(epochs=2, batch=8, optimizer="adamw(lr=0.01)", precision="fp32")
    for name, task, target in (("masks", "instance(threshold=0.1)", "objects"), ("map", "semantic()", "semantic")):
        data, model = f"shapes({target!r}, train=24, test=8, size=32)", "dense(width=8, neck=16, depth=1)"
        for _ in stalwart.train(data, model, task=task, settings=options, out=root / name):
            pass
        list(stalwart.evaluate(root / name))
        list(stalwart.attack_run(root / name, ["pgd(steps=3)"], ["linf(16/255)"], radii=(0.5,), audit=0))
    return root


@pytest.mark.parametrize(("name", "figure"), [("masks", "AP50"), ("map", "mIoU")])
def test_a_dense_run_is_told_by_its_own_figure(runs: Path, name: str, figure: str) -> None:
    page = stalwart.report(runs / name).read_text(encoding="utf-8")
    (item,) = read(runs / name, name).attacks
    assert item.graded is not None
    for text in (
        f"An {figure} of",
        f"{figure}, untouched",
        f"{figure} under attack",
        "attacked prediction",
        "ground truth",
    ):
        assert text in page
    assert f"{100 * item.held.value:.1f}" in page
    assert "right on" not in page
    assert len(item.flips) > 0
    assert len(re.findall("<img", page)) % 3 == 0
    assert "NaN" not in page


def test_precision_against_recall_is_drawn_of_each_class_of_objects(runs: Path) -> None:
    (item,) = read(runs / "masks", "masks").evaluations
    shown = stalwart.report(runs / "masks").read_text(encoding="utf-8")
    assert "Precision and recall" in shown
    for row, curve in zip(item.figures, item.precision, strict=True):
        assert len(curve) == 101
        assert sum(curve) / 101 == pytest.approx(row.clean["ap50"])
        assert f"{row.name}, AP50 {percent(row.clean['ap50'])}" in shown
    assert "Precision and recall" not in stalwart.report(runs / "map").read_text(encoding="utf-8")


def test_curves_go_through_the_corners_and_name_the_weakest_of_many() -> None:
    assert recalled([[1.0, 1.0, 1.0, 0.5], [], [0.0, 0.0]], 3) == ((1.0, 1.0, 1.0, 0.5), (), (0.0, 0.0))
    for damaged in ([[1.0]], [[1.0, 2.0], [], []], [[True, 1.0], [], []], "curves", [["a"], [], []]):
        assert recalled(list(damaged), 3) == ()
    drawn_ = chart(["cup", "chair", "cat"], recalled([[1.0, 1.0, 1.0, 0.5], [], [0.0, 0.0]], 3))
    assert f"cup, AP50 {percent(0.875)}" in drawn_
    assert "chair" not in drawn_
    assert drawn_.count('class="hit"') == 3 + 2  # the middle of the level stretch is no corner
    many = chart([f"c{n:02}" for n in range(20)], recalled([[1.0, n / 20] for n in range(20)], 20))
    assert "mean of 20 classes" in many
    assert "c04" in many
    assert "c05" not in many
    assert chart(["cat"], ((),)) == ""


def test_two_dense_runs_stand_side_by_side(runs: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs / "map", tmp_path / "other")
    page = stalwart.report([runs / "map", tmp_path / "other"], tmp_path / "both.html").read_text(encoding="utf-8")
    assert "mIoU under" in page
    assert "all keep an mIoU of" in page
    assert "There is no difference" in page


def test_drawings_that_are_damaged_are_left_out(runs: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs / "masks", tmp_path / "a")
    (path,) = (tmp_path / "a" / "results").glob("attack*.safetensors")
    whole = load_tensors(path)
    k, size = len(whole["clean"]), (32, 32)
    assert layers_of(whole, k, size) is not None
    for change in (
        {"before.boxes": torch.zeros(3, 5)},
        {"truth.labels": -torch.ones_like(whole["truth.labels"])},
        {"truth.image": whole["truth.image"] + 10_000},
        {"truth.area": torch.zeros(k, 5, 5, dtype=torch.uint8)},
        {"truth.boxes": whole["truth.boxes"] * float("nan")},
    ):
        assert layers_of({**whole, **change}, k, size) is None
        save_tensors(path, {**whole, **change})
        assert "attacked" in stalwart.report(tmp_path / "a").read_text(encoding="utf-8")
    assert layers_of({}, k, size) is None


def test_layers_come_back_as_they_were() -> None:
    one = Drawing(
        torch.rand(2, 4) * 9, torch.tensor([1, 2]), torch.tensor([0.5, 1.0]), torch.ones(9, 9).to(torch.uint8)
    )
    none = Drawing(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(9, 9).to(torch.uint8)
    )
    tensors = {key: value for name in ("truth", "before", "after") for key, value in layers(name, [one, none]).items()}
    again = layers_of(tensors, 2, (9, 9))
    assert again is not None
    for first, second in zip((one, none), (row[0] for row in again), strict=True):
        for part in ("boxes", "labels", "scores", "area"):
            assert torch.equal(getattr(first, part), getattr(second, part))


def test_a_drawing_colours_what_is_somebodys_and_leaves_the_background() -> None:
    area = torch.zeros(16, 16, dtype=torch.uint8)
    area[:, 8:], area[8:, :8] = 2, 255
    layer = Drawing(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), area)
    image = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    picture = drawn(image, layer, NAMES, 64)
    assert (picture[:, :, :32] == 100).all()
    wanted = torch.tensor([int(colour(2)[at : at + 2], 16) for at in (1, 3, 5)])
    mixed = (100 + (wanted - 100) * 140 / 255).round()
    assert ((picture[:, 20, 50].float() - mixed).abs() <= 1).all()
    boxed = Drawing(torch.tensor([[2.0, 2, 12, 12]]), torch.tensor([1]), torch.tensor([1.0]))
    same = Objects(boxed.boxes, boxed.labels)
    assert torch.equal(drawn(image, boxed, NAMES, 64), drawn(image, same, NAMES, 64))


def test_a_measure_is_spoken_of_by_its_kind() -> None:
    assert Measure("top1", 0.5).phrase == "right on 50.0\u00a0%"
    assert Measure("miou", 0.5, (0.4, 0.6)).phrase == "an mIoU of 50.0\u00a0%"
    assert "40.0 to 60.0" in Measure("miou", 0.5, (0.4, 0.6)).within
    raw: dict[str, Any] = {
        "score": "ap50", "clean_score": 0.5, "robust_score": 0.2,
        "curve": [{"epsilon": 0.1, "score": 0.2}, {"epsilon": 0.0, "score": 0.5}, {"epsilon": "x"}],
        "classes": [{"name": "disc", "n": 3, "clean": {"ap": 0.4, "odd": "x"}, "robust": None}],
    }  # fmt: skip
    found = graded(raw)
    assert found is not None
    assert [point for point, _ in found.points] == [0.0, 0.1]
    assert found.classes[0].clean == {"ap": 0.4}
    assert graded({**raw, "clean_score": 7}) is None

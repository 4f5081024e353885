"""Audits of maps, boxes and masks: the task's own figure is audited, and nothing is held to be what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Objects
from stalwart.core.objects import ObjectBatch
from stalwart.run._audit import reruns

EPSILON = 16 / 255


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps than an audit takes; as many as these models need."""
    for name, spelled in (
        ("USUAL", "pgd(steps=4)"),
        ("LONG", "pgd(steps=6)"),
        ("LOSSES", "sea(steps=10)"),
        ("BLACK_BOX", "square(queries=8)"),
    ):
        monkeypatch.setattr(reruns, name, spelled)


class Shade(nn.Module):
    """Class 1 where a pixel is brighter than a half: what an attack within ε can do is known pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        bright = (images.mean(1, keepdim=True) - 0.5) * self.slope
        return torch.cat([-bright, bright], 1)


def shades(n: int = 3) -> tuple[Tensor, Tensor]:
    """Grey pictures, one pixel in five of which can be turned within ε, and the right maps of them."""
    draw = torch.Generator().manual_seed(0)
    near, up = torch.rand(n, 8, 8, generator=draw) < 0.2, torch.rand(n, 8, 8, generator=draw) < 0.5
    off = torch.where(near, 8, 100) * torch.where(up, 1, -1)
    levels = (127.5 + off).round().clamp(0, 255)
    return (levels / 255)[:, None].expand(-1, 3, -1, -1).contiguous(), (levels > 127.5).long()


def bound(images: Tensor, maps: Tensor) -> float:
    """The mIoU of two classes when every pixel within ε of a half is wrong."""
    wrong = (images[:, 0] - 0.5).abs() < EPSILON
    seen = torch.where(wrong, 1 - maps, maps)
    shares = [((seen == k) & (maps == k)).sum() / ((seen == k) | (maps == k)).sum() for k in (0, 1)]
    return float(sum(shares)) / 2


def test_a_figure_that_no_image_falls_for_is_doubtful_all_the_same() -> None:
    """Every picture keeps the task's bound whatever is done to it, and the mIoU that a weak attack left is too high."""
    images, maps = shades()
    more = {"task": "semantic()", "classes": ("dark", "bright")}
    weak = stalwart.audit(
        Shade(), images, maps, "pgd(steps=1, step=0.05, random_start=False)", f"linf({EPSILON})", **more
    )
    strong = stalwart.audit(Shade(), images, maps, "pgd(steps=4)", f"linf({EPSILON})", **more)
    worst = bound(images, maps)
    assert 0.5 < worst < 0.8
    assert (weak.robust_accuracy, weak.lowest) == (1.0, 1.0)
    assert (weak.clean_score, weak.robust_score) == (1.0, 1.0)
    assert weak.lowest_score == pytest.approx(worst, abs=1e-6)
    assert weak.verdict == "doubtful"
    assert f"mIoU to {worst:.1%}" in weak.says
    assert strong.robust_score == strong.lowest_score == pytest.approx(worst, abs=1e-6)
    assert strong.says == "trusted"


class Blind(torch.autograd.Function):
    """Slopes are lost where a pixel is about as bright as a half, the pixels that an attack can turn."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        ctx.save_for_backward(images)
        return images.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (images,) = ctx.saved_tensors
        return slope * ((images.mean(1, keepdim=True) - 0.5).abs() > 0.1)


class Masking(Shade):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(Blind.apply(images))


def test_queries_that_lower_the_figure_more_than_slopes_do_tell_masked_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though no picture falls below the task's bound for them."""
    monkeypatch.setattr(reruns, "BLACK_BOX", "square(queries=300)")
    images, maps = shades()
    found = stalwart.audit(
        Masking(), images, maps, "pgd(steps=2)", f"linf({9 / 255})", task="semantic()", classes=("dark", "bright")
    )
    [check] = [one for one in found.checks if one.name == "black-box"]
    assert check.gained == 0
    assert check.outcome == "broken"
    assert check.lowered > 0.05
    assert found.lowest_score is not None
    assert found.robust_score is not None
    assert found.lowest_score <= found.robust_score - check.lowered + 1e-9


def test_a_loss_that_jumps_where_pixels_turn_wrong_is_no_false_slope() -> None:
    """Every step turns all pixels, and the usual loss of maps, which then weighs them half, is lower for it."""
    images = torch.full((2, 3, 8, 8), 0.5 + 0.1 / 255)
    found = stalwart.audit(
        Shade(), images, torch.ones(2, 8, 8).long(), "pgd(steps=2)", "linf(0.01)", task="semantic()", classes=("a", "b")
    )
    assert found.faults == ()
    assert found.lowest == 0


@pytest.mark.parametrize("shifted", [False, True])
def test_a_model_of_other_pixels_is_told_by_the_tasks_own_figure(shifted: bool) -> None:
    images, maps = shades()
    model = nn.Sequential(Shift(), Shade()) if shifted else Shade()
    found = stalwart.audit(model, images, maps, "pgd(steps=1)", "linf(0.01)", task="semantic()", classes=("a", "b"))
    (check,) = [check for check in found.checks if check.name == "pixel-range"]
    assert check.outcome == ("broken" if shifted else "passed")
    assert "100% mIoU" in check.says


class Shift(nn.Module):
    """From −1..1 to 0..1."""

    def forward(self, images: Tensor) -> Tensor:
        return (images + 1) / 2


class Decided(nn.Module):
    """A map of three classes that says no more than which it is, or how likely each is."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.inner = how, Shade()

    def forward(self, images: Tensor) -> Tensor:
        two = self.inner(images)
        out = torch.cat([two, -5 - two[:, :1].abs()], 1)
        return (
            out.softmax(1)
            if self.how == "probabilities"
            else nn.functional.one_hot(out.argmax(1), 3).movedim(3, 1) * 1.0
        )


@pytest.mark.parametrize("how", ["argmax", "probabilities"])
def test_maps_that_are_no_logits_are_named(how: str) -> None:
    found = stalwart.audit(
        Decided(how), *shades(3), "pgd(steps=2)", f"linf({EPSILON})", task="semantic()", classes=("a", "b", "c")
    )
    assert found.verdict == "broken"
    assert how in found.faults


class Lamp(nn.Module):
    """Sees an object in one place, as surely as the picture is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        return ((images.mean((1, 2, 3)) - 0.5) * self.slope)[:, None, None]

    def candidates(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([[[1.0, 1.0, 7.0, 7.0]]]).expand(len(outputs), 1, 4), outputs

    def losses(self, outputs: Tensor, targets: ObjectBatch) -> Tensor:
        there = targets.there.any(1) if targets.there.shape[1] else torch.zeros(len(outputs), dtype=torch.bool)
        return nn.functional.softplus(torch.where(there[:, None, None], -outputs, outputs)).flatten(1).sum(1)


def test_what_no_attack_could_reach_is_not_held_against_the_attack() -> None:
    """Of four pictures two have no object that could vanish."""
    images = torch.cat([torch.full((2, 3, 8, 8), 240 / 255), torch.full((2, 3, 8, 8), 15 / 255)])
    box, none = (
        Objects(torch.tensor([[1.0, 1, 7, 7]]), torch.tensor([0])),
        Objects(torch.zeros(0, 4), torch.zeros(0).long()),
    )
    found = stalwart.audit(
        Lamp(), images, [box, box, none, none], "pgd(steps=4)", "linf(8/255)",
        task="detection()", goal="vanish", classes=("lamp",),
    )  # fmt: skip
    (unlimited,) = [check for check in found.checks if check.name == "unlimited"]
    assert unlimited.says == "With unlimited changes 100% of what stood falls."
    assert found.verdict == "trusted"
    assert found.robust_score == found.lowest_score == 1.0


def test_goals_say_where_they_can_be_reached() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 8], [4.0, 0, 8, 8]])
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :, :4] = masks[1, :, 4:] = True
    many = [Objects(boxes[:n], torch.zeros(n).long(), masks[:n]) for n in (0, 1, 2)]
    can = {"untargeted": [True] * 3, "vanish": [False, True, True], "merge": [False, False, True]}
    can |= {"shrink": can["vanish"], "mislabel": can["vanish"], "fabricate": [True] * 3}
    for name, kinds in (("detection", ("untargeted", "vanish", "mislabel", "fabricate")),
                        ("instance", ("untargeted", "vanish", "merge", "shrink"))):  # fmt: skip
        task = catalog.make(f"{name}()", "tasks")
        targets = task.collate(many)
        for kind in kinds:
            assert task.goal(Lamp(), targets, kind).possible().tolist() == can[kind], (name, kind)
    aimed = catalog.make("detection()", "tasks")
    targets = aimed.collate(many)
    assert aimed.goal(Lamp(), targets, "fabricate", targets).possible().tolist() == can["vanish"]


@pytest.mark.parametrize(("task", "target", "figure"), [
    ("detection(threshold=0.1)", "objects", "AP50"),
    ("instance(threshold=0.1)", "objects", "AP50"),
    ("semantic()", "semantic", "mIoU"),
])  # fmt: skip
def test_an_audit_of_a_dense_run_is_in_its_report(tmp_path: Path, task: str, target: str, figure: str) -> None:
    options = stalwart.Training(epochs=1, batch=4, precision="fp32")
    data, model = f"shapes({target!r}, train=8, test=4, size=24, most=1)", "dense(width=4, neck=8, depth=1, stride=4)"
    list(stalwart.train(data, model, task=task, settings=options, out=tmp_path))
    events = stalwart.attack_run(tmp_path, ["pgd(steps=2)"], ["linf(8/255)"], radii=(), audit=3)
    attacked, found = (event.values for event in events if event.kind == "result")
    assert (found["kind"], found["score"], found["n"]) == ("audit", attacked["score"], 3)
    assert 0 <= found["lowest_score"] <= found["robust_score"] <= found["clean_score"] <= 1
    page = stalwart.report(tmp_path).read_text(encoding="utf-8")
    assert "Whether to believe the figures" in page
    assert f"{figure} {100 * found['robust_score']:.1f}\u00a0% under the audited attack" in page
    assert "of 3 images within the task" in page

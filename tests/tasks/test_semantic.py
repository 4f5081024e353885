"""Semantic segmentation: losses by hand and by torch, goals, figures by brute force and by torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Info
from stalwart.core.errors import ContractError, InputError
from stalwart.core.overlap import boundary_f
from stalwart.tasks.semantic import KINDS, VOID, semantic

INFO = Info("made", ("a", "b", "c"), "unknown", "made")


class Given(nn.Module):
    """Logits that do not hang on the images but by a shift of the first class."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)] + images[:, :1] * 0


def case(seed: int = 0, n: int = 2, size: tuple[int, int] = (5, 7)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 3, *size, generator=generator) * 2
    targets = torch.randint(0, 3, (n, *size), generator=generator).to(torch.uint8)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = VOID
    return torch.rand(n, 3, *size, generator=generator), logits, targets


def test_the_loss_is_the_mean_over_pixels_that_count() -> None:
    images, logits, targets = case()
    loss = semantic().loss(Given(logits), images, targets, smoothing=0.1)
    for row in range(2):
        expected = F.cross_entropy(
            logits[row : row + 1], targets[row : row + 1].long(), ignore_index=VOID, label_smoothing=0.1
        )
        assert loss[row] == pytest.approx(float(expected), rel=1e-5)
    blank = torch.full_like(targets, VOID)
    assert semantic().loss(Given(logits), images, blank).tolist() == [0.0, 0.0]


def by_hand(kind: str, z: Tensor, y: int, right: bool, rarity: float, wrong: float) -> float:
    p = z.double().softmax(0)
    entropy = -float(p[y].log())
    match kind:
        case "cross_entropy":
            return entropy
        case "masked":
            return entropy if right else 0.0
        case "balanced":
            return rarity * entropy if right else 0.0
        case "spherical":
            return 1 - float(z[y] / z.norm()) if right else 0.0
        case "segpgd":
            return entropy * ((1 - wrong / 2) if right else wrong / 2)
    truth = F.one_hot(torch.tensor(y), 3).double()
    middle = (p + truth) / 2
    total = float((p * (p / middle).log()).sum()) + float(-middle[y].log())
    return total / 2


@pytest.mark.parametrize("kind", KINDS)
def test_each_goals_loss_is_the_papers(kind: str) -> None:
    images, logits, targets = case(1)
    verdict = semantic().goal(Given(logits), targets, kind)(images)
    for row in range(2):
        counts = (targets[row] != VOID).nonzero().tolist()
        right = {(i, j): int(logits[row, :, i, j].argmax()) == int(targets[row, i, j]) for i, j in counts}
        wrong = 1 - sum(right.values()) / len(right)
        present = {int(targets[row, i, j]) for i, j in counts}
        total = 0.0
        for i, j in counts:
            y = int(targets[row, i, j])
            same = sum(int(targets[row, a, b]) == y for a, b in counts)
            rarity = len(counts) / (same * len(present))
            total += by_hand(kind, logits[row, :, i, j], y, right[i, j], rarity, wrong)
        assert verdict.loss[row] == pytest.approx(total / len(counts), rel=1e-4)
        assert bool(verdict.reached[row]) == (1 - wrong < 0.5)


def test_a_targeted_goal_wants_most_pixels_to_be_of_a_class() -> None:
    images, logits, targets = case(2)
    wanted = torch.ones_like(targets)
    verdict = semantic(floor=0.4).goal(Given(logits), targets, "", wanted)(images)
    for row in range(2):
        counts = targets[row] != VOID
        share = float((logits[row].argmax(0)[counts] == 1).float().mean())
        assert bool(verdict.reached[row]) == (share >= 0.6)
    sure = logits.clone()
    sure[:, 1] += 100
    verdict = semantic().goal(Given(sure), targets, "", wanted)(images)
    assert verdict.reached.all()
    assert verdict.loss.tolist() == [0.0, 0.0]


def test_one_class_is_turned_into_another_and_the_rest_left_alone() -> None:
    images, logits, targets = case(2)
    wanted = torch.where(targets == 0, 2, VOID).to(torch.uint8)
    goal = semantic().goal(Given(logits), targets, "", wanted)
    before = goal(images)
    for row in range(2):
        own = targets[row] == 0
        log_p = logits[row].log_softmax(0)
        miss = own & (logits[row].argmax(0) != 2)
        assert float(before.loss[row]) == pytest.approx(float(log_p[2][miss].sum() / miss.sum()), rel=1e-4)
        share = float((logits[row].argmax(0)[own] == 2).float().mean())
        assert bool(before.reached[row]) == (share >= 0.5)
    turned = torch.where((targets == 0)[:, None], torch.eye(logits.shape[1])[2][None, :, None, None] * 99, logits)
    assert semantic().goal(Given(turned), targets, "", wanted)(images).reached.all()


def test_mean_iou_is_torchmetrics() -> None:
    from torchmetrics.functional.segmentation import mean_iou

    _, logits, targets = case(3, n=6, size=(11, 9))
    targets = torch.where(targets == VOID, 0, targets)  # torchmetrics has no void
    said = logits.argmax(1)
    metric = semantic().metric(INFO)
    metric.update(said[:2], targets[:2])
    metric.update(said[2:], targets[2:])
    figures = metric.compute()
    flat = mean_iou(said.view(1, -1, 9), targets.view(1, -1, 9).long(), num_classes=3, input_format="index")
    assert figures["miou"] == pytest.approx(float(flat), abs=1e-6)
    assert figures["pixel_accuracy"] == pytest.approx(float((said == targets).float().mean()))
    low, high = figures["intervals"]["miou"]
    assert low <= figures["miou"] <= high
    assert high - low < 0.3


def test_void_counts_for_nothing_and_absent_classes_neither() -> None:
    truth = torch.tensor([[[0, 0, 1, VOID]]])
    metric = semantic().metric(INFO)
    metric.update(torch.tensor([[[0, 1, 1, 2]]]), truth)
    figures = metric.compute()
    assert figures["miou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert figures["per_class"][2]["iou"] is None
    with pytest.raises(InputError, match=r"0\.\.2"):
        metric.update(truth, torch.tensor([[[7, 0, 0, 0]]]))


def test_boundaries_that_agree_and_that_do_not() -> None:
    truth = torch.zeros(40, 40, dtype=torch.int64)
    truth[:, 20:] = 1
    assert boundary_f(truth, truth) == 1.0
    near, far = torch.zeros_like(truth), torch.zeros_like(truth)
    near[:, 21:] = 1
    far[:, 30:] = 1
    assert boundary_f(near, truth) == 1.0
    assert boundary_f(far, truth) == 0.0
    assert boundary_f(torch.zeros_like(truth), truth) == 0.0
    assert math.isnan(boundary_f(torch.zeros_like(truth), torch.zeros_like(truth)))


def test_a_model_of_another_task_is_refused() -> None:
    with pytest.raises(ContractError, match="semantic segmentation"):
        semantic().loss(nn.Sequential(nn.Flatten(), nn.Linear(105, 3)), torch.rand(1, 3, 5, 7), torch.zeros(1, 5, 7))


def test_coarse_logits_are_enlarged() -> None:
    images, logits, targets = case(4, size=(8, 6))
    coarse = F.avg_pool2d(logits, 2)
    assert semantic().predict(nn.Conv2d(3, 3, 1, stride=2), images).shape == targets.shape
    assert semantic().loss(Given(logits), images, targets).shape == (2,)
    assert coarse.shape[2:] == (4, 3)


def test_a_run_from_training_to_attack(tmp_path) -> None:
    data = catalog.make("shapes(target='semantic', train=48, test=12, size=32)", "data")
    settings = stalwart.Training(epochs=4, batch=8, optimizer="adamw(lr=0.01)", augments=("flip()",), precision="fp32")
    events = list(
        stalwart.train(
            data, "dense(width=8, neck=16, depth=1)", task="semantic(floor=0.8)", settings=settings, out=tmp_path / "a"
        )
    )
    scores = [event.values["val_loss"] for event in events if event.kind == "epoch"]
    assert scores[-1] < scores[0]
    figures = next(event for event in stalwart.evaluate(tmp_path / "a") if event.kind == "result").values["figures"]
    assert figures["pixel_accuracy"] > 0.6
    found = [
        e
        for e in stalwart.attack_run(tmp_path / "a", ["pgd(steps=5)"], ["linf(0.2)"], limit=8, audit=0)
        if e.kind == "result"
    ]
    assert found[0].values["robust_accuracy"] < found[0].values["clean_accuracy"]
    from PIL import Image

    image = data.open("test")[0].image
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    said = [e.values for e in stalwart.predict(tmp_path / "a", [tmp_path / "x.png"]) if e.kind == "prediction"]
    assert "background" in said[0]["classes"]

"""Detection: goals on outputs made by hand, figures equal to pycocotools', a run from training to attack."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.coco import CocoMetric, coco
from stalwart.core.contracts import Info, Objects
from stalwart.core.errors import ContractError, InputError
from stalwart.core.finding import Detections
from stalwart.core.objects import ObjectBatch, giou, iou, stack
from stalwart.tasks.detection import detection

INFO = Info("made", ("cat", "dog", "owl"), "unknown", "made")


class Said(nn.Module):
    """A detector whose candidates are given."""

    def __init__(self, boxes: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.boxes, self.logits = boxes, nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits + images.mean() * 0

    def candidates(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.boxes, outputs

    def losses(self, outputs: Tensor, targets: ObjectBatch) -> Tensor:
        return outputs.flatten(1).sum(1)


CAT, DOG, OWL, NOBODY = (torch.tensor([[5.0 if i == j else -5.0 for i in range(3)]]) for j in range(4))
HERE, THERE = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[20.0, 20, 30, 30]])


def one(boxes: list[Tensor], labels: list[int]) -> ObjectBatch:
    return stack([Objects(torch.cat(boxes) if boxes else torch.zeros(0, 4), torch.tensor(labels, dtype=torch.int64))])


@pytest.mark.parametrize(
    ("logits", "labels", "reached"),
    [
        ((CAT, DOG), [0, 1], set()),
        ((CAT, NOBODY), [0, 1], set()),  # one of two is found: half
        ((NOBODY, NOBODY), [0, 1], {"untargeted", "vanish"}),
        ((OWL, NOBODY), [0, 1], {"untargeted", "vanish", "mislabel"}),
        ((OWL, DOG), [0, 1], set()),
        ((CAT, NOBODY), [0], set()),
        ((NOBODY, CAT), [0], {"untargeted", "vanish"}),
    ],
)
def test_what_is_reached(logits: tuple[Tensor, Tensor], labels: list[int], reached: set[str]) -> None:
    model = Said(torch.stack([HERE, THERE], 1), torch.stack(logits, 1))
    targets = one([HERE, THERE][: len(labels)], labels)
    for kind in ("untargeted", "vanish", "mislabel"):
        verdict = detection().goal(model, targets, kind)(torch.rand(1, 3, 8, 8))
        assert bool(verdict.reached) == (kind in reached), kind


def test_fabricating_counts_what_is_seen_where_nothing_is() -> None:
    boxes = torch.stack([HERE, THERE, THERE + 20, THERE + 40], 1)
    for seen in range(4):
        logits = torch.stack([CAT, *[DOG if k < seen else NOBODY for k in range(3)]], 1)
        verdict = detection().goal(Said(boxes, logits), one([HERE], [0]), "fabricate")(torch.rand(1, 3, 8, 8))
        assert bool(verdict.reached) == (seen > 1)


def test_an_image_without_objects_is_spoilt_by_seeing_one() -> None:
    for logits, spoilt in ((NOBODY, False), (CAT, True)):
        verdict = detection().goal(Said(HERE[None], logits[None]), one([], []))(torch.rand(1, 3, 8, 8))
        assert bool(verdict.reached) == spoilt


@pytest.mark.parametrize(
    ("kind", "better", "worse"),
    [
        ("vanish", (NOBODY, DOG), (CAT, DOG)),
        ("fabricate", (CAT, DOG), (CAT, NOBODY)),
        ("mislabel", (DOG, NOBODY), (CAT, NOBODY)),
    ],
)
def test_losses_rise_towards_the_goal(kind: str, better: tuple[Tensor, Tensor], worse: tuple[Tensor, Tensor]) -> None:
    values = []
    for logits in (better, worse):
        model = Said(torch.stack([HERE, THERE], 1), torch.stack(logits, 1))
        values.append(float(detection().goal(model, one([HERE], [0]), kind)(torch.rand(1, 3, 8, 8)).loss.detach()))
    assert values[0] > values[1] + 1


def test_mistakes_are_named() -> None:
    model = Said(HERE[None], CAT[None])
    with pytest.raises(InputError, match="vanish"):
        detection().goal(model, one([], []), "vanisch")
    with pytest.raises(InputError, match="no targeted"):
        detection().goal(model, one([], []), wanted=1)
    with pytest.raises(ContractError, match="candidates"):
        detection().predict(nn.Flatten(), torch.rand(1, 3, 4, 4))
    with pytest.raises(InputError, match="smoothing"):
        detection().loss(model, torch.rand(1, 3, 4, 4), one([], []), smoothing=0.1)


def test_overlaps_are_torchvisions() -> None:
    from torchvision.ops import box_iou, generalized_box_iou

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 7, 2, 2, generator=generator).sort(2).values.flatten(2) * 50
    torch.testing.assert_close(iou(corners[:1], corners[1:])[0], box_iou(corners[0], corners[1]))
    torch.testing.assert_close(giou(corners[0], corners[1]), generalized_box_iou(corners[0], corners[1]).diagonal())


def made_up(seed: int, n: int = 12) -> tuple[list[Objects], list[Detections]]:
    """Objects, and detections that are some of them shaken, some doubled, some made up."""
    rng = np.random.default_rng(seed)
    truth, said = [], []
    for _ in range(n):
        count = int(rng.integers(0, 8))
        corner, side = rng.uniform(0, 200, (count, 2)), rng.uniform(5, 120, (count, 2))
        boxes = torch.tensor(np.hstack([corner, corner + side]), dtype=torch.float32).view(-1, 4)
        labels = torch.tensor(rng.integers(0, 3, count))
        truth.append(Objects(boxes, labels, None, torch.tensor(rng.random(count) < 0.1)))
        extra = int(rng.integers(0, 5))
        corner, side = rng.uniform(0, 200, (extra, 2)), rng.uniform(5, 120, (extra, 2))
        shaken = boxes + torch.tensor(rng.normal(0, 4, boxes.shape), dtype=torch.float32)
        found = torch.cat([shaken, torch.tensor(np.hstack([corner, corner + side]), dtype=torch.float32).view(-1, 4)])
        again = torch.cat([labels, torch.tensor(rng.integers(0, 3, extra))])
        scores = torch.tensor(rng.random(len(found)), dtype=torch.float32)
        order = scores.argsort(descending=True)
        said.append(Detections(found[order], again[order], scores[order]))
    return truth, said


def pycoco(metric: CocoMetric) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, said = coco(metric.rows, metric.classes)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(said), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_is_pycocotools(seed: int) -> None:
    truth, said = made_up(seed)
    metric = CocoMetric(INFO.classes)
    metric.update(said[:5], stack(truth[:5]))
    metric.update(said[5:], stack(truth[5:]))
    figures, oracle = metric.compute(), pycoco(metric)
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    for name, value in zip(names, oracle, strict=False):
        assert (figures[name] if figures[name] is not None else -1) == pytest.approx(float(value), abs=1e-6), name


def test_no_detection_at_all_scores_nothing() -> None:
    truth, _ = made_up(0)
    metric = CocoMetric(INFO.classes)
    empty = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    metric.update([empty] * len(truth), stack(truth))
    assert metric.compute()["ap"] == 0.0


def test_a_run_from_training_to_attack(tmp_path: Path) -> None:
    data = catalog.make("shapes(train=96, test=16, size=32, most=2)", "data")
    settings = stalwart.Training(epochs=10, batch=8, optimizer="adamw(lr=0.01)", augments=("flip()",), precision="fp32")
    out = tmp_path / "a"
    events = list(
        stalwart.train(
            data, "dense(width=8, neck=16, depth=1)", task="detection(threshold=0.15)", settings=settings, out=out
        )
    )
    scores = [event.values["val_loss"] for event in events if event.kind == "epoch"]
    assert scores[-1] < 0.8 * scores[0]
    figures = next(event for event in stalwart.evaluate(out) if event.kind == "result").values["figures"]
    assert 0 < figures["ap"] < figures["ap50"]
    found = next(e for e in stalwart.attack_run(out, ["pgd(steps=5)"], ["linf(0.1)"]) if e.kind == "result").values
    assert found["robust_accuracy"] < found["clean_accuracy"]
    assert found["worst_size"] <= 0.1 + 1e-5

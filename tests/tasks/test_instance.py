"""Instance segmentation: goals on masks made by hand, figures equal to pycocotools', a run from training to attack."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_api
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.coco import NAMES, CocoMetric, coco, encoded
from stalwart.core.contracts import Info, Objects
from stalwart.core.errors import ContractError, InputError
from stalwart.core.finding import Detections
from stalwart.core.objects import ObjectBatch, stack
from stalwart.core.places import affine
from stalwart.tasks.instance import instance

INFO = Info("made", ("cat", "dog", "owl"), "unknown", "made")
SIZE = (16, 24)


class Said(nn.Module):
    """A model whose candidates and masks are given."""

    def __init__(self, boxes: Tensor, logits: Tensor, drawn: Tensor) -> None:
        super().__init__()
        self.boxes, self.logits, self.drawn = boxes, nn.Parameter(logits), nn.Parameter(drawn)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits + images.mean() * 0

    def candidates(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.boxes, outputs

    def masks(self, outputs: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
        return self.drawn.gather(1, index[..., None, None].expand(-1, -1, *size))

    def losses(self, outputs: Tensor, targets: ObjectBatch) -> Tensor:
        return outputs.flatten(1).sum(1)


def region(left: int, right: int, top: int = 2, bottom: int = 12) -> Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def box(mask: Tensor) -> list[float]:
    rows, columns = mask.nonzero().unbind(1)
    return [float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


LEFT, RIGHT = region(2, 10), region(12, 20)
HALF, THIRD = region(2, 6), region(2, 4)
BOTH = LEFT | RIGHT
CAT, DOG = [5.0, -5.0, -5.0], [-5.0, 5.0, -5.0]
NOBODY = [-5.0] * 3


def truth(*masks: Tensor) -> ObjectBatch:
    boxes = torch.tensor([box(mask) for mask in masks]).view(-1, 4)
    whole = torch.stack(masks) if masks else torch.zeros(0, *SIZE, dtype=torch.bool)
    return stack([Objects(boxes, torch.arange(len(masks)), whole)])


def said(*seen: tuple[list[float], Tensor]) -> Said:
    """Each candidate's logits and the mask that it draws; its box is that of the object it stands at."""
    boxes = torch.tensor([[box(place) for place in (LEFT, RIGHT)][: len(seen)]])
    drawn = torch.stack([mask for _, mask in seen]).float()[None] * 10 - 5
    return Said(boxes, torch.tensor([[logits for logits, _ in seen]]), drawn)


@pytest.mark.parametrize(
    ("seen", "reached"),
    [
        (((CAT, LEFT), (DOG, RIGHT)), set()),
        (((CAT, LEFT), (NOBODY, RIGHT)), set()),  # one of two is found: half
        (((NOBODY, LEFT), (NOBODY, RIGHT)), {"untargeted", "vanish", "shrink"}),
        (((DOG, LEFT), (CAT, RIGHT)), {"untargeted", "vanish", "shrink"}),  # found as something else
        (((CAT, THIRD), (DOG, THIRD)), {"untargeted", "vanish", "shrink"}),
        (((CAT, THIRD), (DOG, RIGHT)), set()),
        (((CAT, HALF), (NOBODY, RIGHT)), set()),  # half a mask is still half the object
        (((CAT, BOTH), (DOG, RIGHT)), {"merge"}),
        (((CAT, BOTH), (NOBODY, RIGHT)), {"merge"}),
        (((CAT, BOTH | region(20, 24)), (NOBODY, RIGHT)), {"merge", "untargeted", "vanish"}),
    ],
)
def test_what_is_reached(seen: tuple[tuple[list[float], Tensor], ...], reached: set[str]) -> None:
    model, targets = said(*seen), truth(LEFT, RIGHT)
    for kind in ("untargeted", "shrink", "merge", "vanish"):
        verdict = instance().goal(model, targets, kind)(torch.rand(1, 3, *SIZE))
        assert bool(verdict.reached) == (kind in reached), kind


def test_one_object_or_none_has_nobody_to_swallow() -> None:
    images = torch.rand(1, 3, *SIZE)
    for targets in (truth(LEFT), truth()):
        for kind in ("merge",) if len(targets.labels[0]) else ("shrink", "merge", "vanish"):
            verdict = instance().goal(said((CAT, BOTH)), targets, kind)(images)
            assert not bool(verdict.reached)
            assert float(verdict.loss.detach()) == 0
    for logits, spoilt in ((NOBODY, False), (CAT, True)):
        assert bool(instance().goal(said((logits, LEFT)), truth())(images).reached) == spoilt


def test_an_image_without_objects_needs_no_masks() -> None:
    none = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    moved = affine(2, "cpu", dx=2.0)
    for batch, count in (([none, truth(LEFT).of(0)], 1), ([none, none], 0)):
        targets = instance().move(instance().collate(batch), moved, SIZE)
        assert targets.masks is not None
        assert targets.masks.shape == (2, count, *SIZE)


def test_batch_mates_do_not_matter() -> None:
    one, other = said((CAT, LEFT), (DOG, RIGHT)), said((CAT, BOTH), (NOBODY, THIRD))
    both = Said(
        *(torch.cat([getattr(one, n).detach(), getattr(other, n).detach()]) for n in ("boxes", "logits", "drawn"))
    )
    alone = truth(LEFT, RIGHT)
    fewer = stack([alone.of(0), truth(LEFT).of(0)])
    images = torch.rand(2, 3, *SIZE)
    for kind in ("untargeted", "shrink", "merge", "vanish"):
        together = instance().goal(both, fewer, kind)(images)
        for row, (model, targets) in enumerate(((one, alone), (other, truth(LEFT)))):
            single = instance().goal(model, targets, kind)(images[row : row + 1])
            torch.testing.assert_close(single.loss[0], together.loss[row])
            assert single.reached is not None
            assert together.reached is not None
            assert bool(single.reached[0]) == bool(together.reached[row])


@pytest.mark.parametrize(
    ("kind", "better", "worse"),
    [
        ("vanish", (NOBODY, LEFT), (CAT, LEFT)),
        ("shrink", (CAT, THIRD), (CAT, LEFT)),
        ("merge", (CAT, BOTH), (CAT, LEFT)),
    ],
)
def test_losses_rise_towards_the_goal(
    kind: str, better: tuple[list[float], Tensor], worse: tuple[list[float], Tensor]
) -> None:
    values = []
    for seen in (better, worse):
        model = said(seen, (DOG, RIGHT))
        verdict = instance().goal(model, truth(LEFT, RIGHT), kind)(torch.rand(1, 3, *SIZE))
        slopes = torch.autograd.grad(verdict.loss.sum(), [model.logits, model.drawn], allow_unused=True)
        assert any(slope is not None and bool((slope != 0).any()) for slope in slopes)
        values.append(float(verdict.loss.detach()))
    assert values[0] > values[1] + 0.5


def test_mistakes_are_named() -> None:
    model, images = said((CAT, LEFT)), torch.rand(1, 3, *SIZE)
    with pytest.raises(InputError, match="shrink"):
        instance().goal(model, truth(), "schrink")
    with pytest.raises(InputError, match=r"wanted must be the objects of 1 images, collated\. Got int"):
        instance().goal(model, truth(), wanted=1)
    with pytest.raises(InputError, match="boxes alone"):
        instance().collate([Objects(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))])
    with pytest.raises(InputError, match=r"size \(8, 8\)"):
        instance().goal(model, truth(LEFT))(torch.rand(1, 3, 8, 8))
    with pytest.raises(ContractError, match="masks"):
        instance().predict(nn.Flatten(), images)
    with pytest.raises(InputError, match="smoothing"):
        instance().loss(model, images, truth(LEFT), smoothing=0.1)


def test_predictions_have_masks_and_say_how_large() -> None:
    found = instance(most=5).predict(said((CAT, HALF), (DOG, RIGHT)), torch.rand(1, 3, *SIZE))
    assert found[0].masks is not None
    rows = instance().describe(found, 0, INFO)
    assert {(row["class"], row["pixels"]) for row in rows["objects"]} == {("cat", 40), ("dog", 80)}
    assert sorted(rows["found"].split(", ")) == ["1 cat", "1 dog"]
    assert instance().describe_target(truth(LEFT), 0, INFO)["objects"][0] == {
        "class": "cat", "box": [2.0, 2.0, 10.0, 12.0], "pixels": 80,
    }  # fmt: skip


def made_up(seed: int, n: int = 6, side: int = 120) -> tuple[list[Objects], list[Detections]]:
    """Ellipses, and detections that are some of them moved, and some made up."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side]

    def ellipses(middles: Any, radii: Any) -> Tensor:
        found = [
            ((column - x) / a) ** 2 + ((row - y) / b) ** 2 <= 1 for (x, y), (a, b) in zip(middles, radii, strict=True)
        ]
        return torch.from_numpy(np.stack(found)) if found else torch.zeros(0, side, side, dtype=torch.bool)

    def around(masks: Tensor) -> Tensor:
        places = [box(mask) if bool(mask.any()) else [0.0] * 4 for mask in masks]
        return torch.tensor(places).view(-1, 4)

    objects, found = [], []
    for _ in range(n):
        count, extra = int(rng.integers(0, 6)), int(rng.integers(0, 3))
        middles, radii = rng.uniform(20, side - 20, (count, 2)), rng.uniform(4, 50, (count, 2))
        masks, labels = ellipses(middles, radii), torch.tensor(rng.integers(0, 3, count))
        objects.append(Objects(around(masks), labels, masks, torch.tensor(rng.random(count) < 0.1)))
        moved = np.concatenate([middles + rng.normal(0, 2, (count, 2)), rng.uniform(20, side - 20, (extra, 2))])
        grown = np.concatenate([radii * rng.uniform(0.8, 1.2, (count, 2)), rng.uniform(4, 50, (extra, 2))])
        masks = ellipses(moved, grown)
        scores = torch.tensor(rng.random(count + extra), dtype=torch.float32)
        again = torch.cat([labels, torch.tensor(rng.integers(0, 3, extra))])
        order = scores.argsort(descending=True)
        found.append(Detections(around(masks)[order], again[order], scores[order], masks[order]))
    return objects, found


def pycoco(metric: CocoMetric, by: Literal["segm", "bbox"]) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known_rows, found_rows = coco(metric.rows, metric.classes)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = known_rows
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(found_rows), by)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_of_masks_and_boxes_is_pycocotools(seed: int) -> None:
    objects, found = made_up(seed)
    metric = CocoMetric(INFO.classes, masks=True)
    metric.update(found[:2], stack(objects[:2]))
    metric.update(found[2:], stack(objects[2:]))
    figures = metric.compute()
    of_masks, of_boxes = pycoco(metric, "segm"), pycoco(metric, "bbox")
    for name, value in zip(NAMES, of_masks.stats, strict=True):
        assert (figures[name] if figures[name] is not None else -1) == pytest.approx(float(value), abs=1e-6), name
    for name, value in zip(("box_ap", "box_ap50", "box_ap75"), of_boxes.stats, strict=False):
        assert figures[name] == pytest.approx(float(value), abs=1e-6), name
    for number, row in enumerate(figures["per_class"]):
        for name, evaluation in (("ap", of_masks), ("box_ap", of_boxes)):
            precision = evaluation.eval["precision"][:, :, number, 0, -1]
            counted = precision[precision > -1]
            assert (row[name] is None) == (not len(counted))
            assert row[name] is None or row[name] == pytest.approx(float(counted.mean()), abs=1e-6)


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(1, 7), st.integers(1, 9))), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_run_lengths_are_pycocotools(masks: np.ndarray[Any, Any], density: float) -> None:
    masks = masks & (np.random.default_rng(0).random(masks.shape) < density)
    theirs = [mask_api.encode(np.asfortranarray(one.astype(np.uint8))) for one in masks]
    expected = [{"size": list(one["size"]), "counts": one["counts"].decode()} for one in theirs]
    assert encoded(torch.from_numpy(masks)) == expected


def test_no_detection_at_all_scores_nothing() -> None:
    objects, _ = made_up(0)
    metric = CocoMetric(INFO.classes, masks=True)
    none = torch.zeros(0, 120, 120, dtype=torch.bool)
    empty = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), none)
    metric.update([empty] * len(objects), stack(objects))
    assert metric.compute()["ap"] == metric.compute()["box_ap"] == 0.0


def test_a_run_from_training_to_attack(tmp_path: Path) -> None:
    data = catalog.make("shapes(train=48, test=12, size=32, most=2)", "data")
    settings = stalwart.Training(epochs=16, batch=8, optimizer="adamw(lr=0.01)", augments=("flip()",), precision="fp32")
    out = tmp_path / "a"
    model, task = "dense(width=8, neck=16, depth=1)", "instance(threshold=0.15)"
    events = list(stalwart.train(data, model, task=task, settings=settings, out=out))
    losses = [event.values["val_loss"] for event in events if event.kind == "epoch"]
    assert losses[-1] < 0.7 * losses[0]
    figures = next(event for event in stalwart.evaluate(out) if event.kind == "result").values["figures"]
    assert figures["ap50"] > 0.02
    found = next(e for e in stalwart.attack_run(out, ["pgd(steps=5)"], ["linf(0.1)"]) if e.kind == "result").values
    assert found["robust_accuracy"] < found["clean_accuracy"]

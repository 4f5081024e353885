"""Panoptic segmentation: each pixel belongs to one thing or to stuff of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from stalwart.core import finding, maps, places
from stalwart.core.coco import encoded
from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import Drawing, Goal, Info, Metric, Objects, Verdict
from stalwart.core.errors import InputError
from stalwart.core.finding import masker_of, surest_masks
from stalwart.core.objects import ObjectBatch, compose, masks_of, move, stack, stack_masked
from stalwart.core.panoptic import PanopticMetric, Scene, counted, merged, truth
from stalwart.core.places import VOID


@component
class panoptic:
    """Each pixel belongs to one segment: a thing, or stuff, which has no instances. Targets are the objects of each
    image with their masks, and a semantic map; predictions lists of `Scene`.

    The model gives, from one forward pass, a dict with logits of each pixel as 'semantic', and has a `Masker` within;
    `dense()` does.
    """

    stuff: tuple[Annotated[int, at_least(0)], ...] = (0,)
    """The classes, by their indices, that have no instances."""
    threshold: Annotated[float, Range(0, 1)] = 0.3
    """The score from which on a thing is laid into the scene."""
    overlap: Annotated[float, Range(0, 1)] = 0.5
    """The share of a thing's mask that must be left to be seen where surer things lie above it."""
    floor: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """An attack has reached its goal where less than this share of an image's segments is matched still."""
    most: Annotated[int, at_least(1)] = 100
    """Things of an image at most."""

    score: ClassVar[str] = "pq"
    """The figure that says which model is best."""

    def collate(self, targets: Sequence[Objects]) -> ObjectBatch:
        """
        Raises:
            InputError: objects without masks, or images without a semantic map.
        """
        if any(one.semantic is None for one in targets):
            raise InputError("panoptic needs a semantic map beside the objects. Got objects alone.")
        return stack_masked("panoptic", targets)

    def loss(self, model: nn.Module, images: Tensor, targets: ObjectBatch, *, smoothing: float = 0.0) -> Tensor:
        """(B,) the model's own loss of objects and masks, and the mean cross-entropy of the pixels, to which alone
        `smoothing` applies.

        Raises:
            InputError: masks of another size than the images'.
        """
        return _loss(model, model(images), images, targets, smoothing)

    def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
        """(B,) of all candidates (`core/finding.py`), and of the pixels (`core/maps.py`)."""
        masker, before, after = masker_of(model), model(images), model(others)
        of_objects = finding.divergence(masker.candidates(before), masker.candidates(after))
        return of_objects + maps.divergence(maps.logits_in(before, images), maps.logits_in(after, others))

    @torch.no_grad()
    def predict(self, model: nn.Module, images: Tensor) -> list[Scene]:
        return self.scenes(model, model(images), images)

    def goal(self, model: nn.Module, targets: ObjectBatch, kind: str = "", wanted: Any = None) -> Goal:
        """To raise the training loss ('untargeted', the one kind), reached where less than `floor` of the image's
        segments is matched; where there is none, where one is seen. Targeted goals are those of the tasks
        `semantic` and `instance`, which take the same model.

        Raises:
            InputError: another kind; `wanted`, which is not served.
        """
        if kind not in ("", "untargeted") or wanted is not None:
            came = repr(kind) if wanted is None else "wanted"
            raise InputError(
                f"panoptic has the goal 'untargeted' alone. Got {came}; semantic and instance have others."
            )
        return _Goal(model, targets, self)

    def metric(self, info: Info) -> Metric:
        """
        Raises:
            InputError: a class of `stuff` that the data have not.
        """
        if self.stuff and max(self.stuff) >= len(info.classes):
            last = len(info.classes) - 1
            raise InputError(f"panoptic(stuff=...) must lie in 0..{last}, the data's classes. Got {max(self.stuff)}.")
        return PanopticMetric(info.classes, self.stuff)

    def move(self, targets: ObjectBatch, placement: Tensor, size: tuple[int, int]) -> ObjectBatch:
        return move(targets, placement, size)

    def place(self, target: Objects, placement: Tensor, size: tuple[int, int]) -> Objects:
        return move(stack([target]), placement[None], size).of(0)

    def compose(self, targets: ObjectBatch, windows: Tensor) -> ObjectBatch:
        return compose(targets, windows)

    def restore(self, prediction: Sequence[Scene], index: int, placement: Tensor, size: tuple[int, int]) -> list[Scene]:
        one = prediction[index]
        return [replace(one, ids=places.move_masks(one.ids[None], placement[None].to(one.ids.device), size, 0)[0])]

    def describe(self, prediction: Sequence[Scene], index: int, info: Info) -> dict[str, Any]:
        """The segments that can be seen, the largest first: class, score, pixels and the box around them."""
        return _described(prediction[index], info, self.stuff)

    def outline(self, prediction: Sequence[Scene], index: int, info: Info) -> dict[str, Any]:
        """As `describe`, each segment with its 'mask'."""
        one, said = prediction[index], self.describe(prediction, index, info)
        ids = torch.tensor([row["id"] for row in said["segments"]], device=one.ids.device)
        for row, mask in zip(said["segments"], encoded(one.ids == ids[:, None, None]), strict=True):
            row["mask"] = mask
        return said

    def describe_target(self, targets: ObjectBatch, index: int, info: Info) -> dict[str, Any]:
        return _described(truth(targets.of(index), self.stuff), info, self.stuff)

    def draw(self, prediction: Sequence[Scene], index: int) -> Drawing:
        """The class of each pixel."""
        one = prediction[index]
        classes = torch.cat([one.labels.new_tensor([VOID]), one.labels])[one.ids.long()].to(torch.uint8)
        return Drawing(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), classes)

    def draw_target(self, targets: ObjectBatch, index: int) -> Drawing:
        return self.draw([truth(targets.of(index), self.stuff)], 0)

    def scenes(self, model: nn.Module, outputs: Any, images: Tensor) -> list[Scene]:
        """What the outputs of one forward pass at `images` say."""
        found = surest_masks(masker_of(model), outputs, images, self.most)
        semantic = maps.logits_in(outputs, images).argmax(1)
        return [merged(one, semantic[row], self.stuff, self.threshold, self.overlap) for row, one in enumerate(found)]


def _loss(model: nn.Module, outputs: Any, images: Tensor, targets: ObjectBatch, smoothing: float = 0.0) -> Tensor:
    masks_of(targets, images)
    assert targets.semantic is not None
    of_pixels = maps.entropy(maps.logits_in(outputs, images), targets.semantic, smoothing)
    return masker_of(model).losses(outputs, targets) + maps.mean(of_pixels, targets.semantic != VOID)


def _described(one: Scene, info: Info, stuff: Sequence[int]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, (label, score) in enumerate(zip(one.labels.tolist(), one.scores.tolist(), strict=True), 1):
        own = one.ids == number
        if not bool(own.any()):
            continue
        lines, columns = own.any(1).nonzero()[:, 0], own.any(0).nonzero()[:, 0]
        box = [int(columns[0]), int(lines[0]), int(columns[-1]) + 1, int(lines[-1]) + 1]
        row = {"id": number, "class": info.classes[label], "score": score, "pixels": int(own.sum()), "box": box}
        rows.append({**row, "stuff": label in stuff})
    rows.sort(key=lambda row: -row["pixels"])
    names = [row["class"] for row in rows if not row["stuff"]]
    things = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing"
    return {"found": things, "segments": rows}


class _Goal:
    """Verdicts from one forward pass."""

    def __init__(self, model: nn.Module, targets: ObjectBatch, task: panoptic) -> None:
        self.model, self.targets, self.task = model, targets, task

    def on(self, model: nn.Module) -> _Goal:
        return _Goal(model, self.targets, self.task)

    def select(self, index: Tensor) -> _Goal:
        return _Goal(self.model, self.targets[index], self.task)

    def __call__(self, images: Tensor) -> Verdict:
        outputs = self.model(images)
        with torch.no_grad():
            scenes = self.task.scenes(self.model, outputs, images)
        reached = []
        for row, said in enumerate(scenes):
            true = truth(self.targets.of(row), self.task.stuff)
            classes = 1 + max([*said.labels.tolist(), *true.labels.tolist()], default=0)
            _, matched, wrong, missed = counted(said, true, classes).sum(1).tolist()
            there = matched + missed
            reached.append(matched < self.task.floor * there if there else wrong > 0)
        loss = _loss(self.model, outputs, images, self.targets)
        return Verdict(loss, torch.tensor(reached, device=images.device), harm=loss.detach())

"""What detectors come to when each has the same time: ours beside torchvision's, all from scratch.

    python benchmarks/detectors_equal_time.py "voc(root='bccd')" --size 240 320 [--seconds 300] [--trial 45]
    python benchmarks/detectors_equal_time.py "shapes(train=320, test=80, size=96)" --size 96 96 --seconds 40 --trial 8

Every model trains on the same batches (8 images of the train split, flips, scale jitter, colour) in the same plain loop
for so many CPU seconds of one thread, data, forward, backward and step counted; the learning rate rises over the first
tenth of the time and falls to nothing at its end. torchvision's models train by their own losses and predict by their
own decoding and NMS; the test split is judged by one metric at the scores that each gives.

A peer's optimizer and rate are chosen among `TRIED` by trials of `--trial` seconds: the lowest training loss over a
trial's last fifth. Ours keeps the one of `recipes/bccd.py`, not chosen here. For so short a time torchvision's models
are set up in their favour: both see the images at the same size as ours and not enlarged; Faster R-CNN's second stage
learns from 64 regions an image, where its 512 would take most of the time; SSDlite's BatchNorm follows at a rate of
0.1, where its 0.03 is made for long runs. Each run's line is written when it ends, and one that is there is not done
again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from stalwart.core import catalog
from stalwart.core.contracts import Examples, Signature
from stalwart.core.finding import Detections
from stalwart.core.memory import keep_memory
from stalwart.feed.batches import Batches

OURS = "dense(stride=4)"
TRIED = {
    OURS: ("muon(lr=0.05, bias_lr=0.05, head_lr=0.05)",),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("adamw(lr=0.001)", "sgd(lr=0.01)"),
    "ssdlite320_mobilenet_v3_large": ("adamw(lr=0.001)", "sgd(lr=0.03)"),
}


class Ours:
    """A model of the catalog, and the task's loss and predictions."""

    def __init__(self, task: Any, examples: Examples, size: tuple[int, int]) -> None:
        self.task, architecture = task, catalog.make(OURS, "models")
        self.model: nn.Module = architecture.build(Signature(len(examples.info.classes), 3, size, "detection"))

    def loss(self, images: Tensor, targets: Any) -> Tensor:
        return self.task.loss(self.model, images, targets).mean()

    def predict(self, images: Tensor) -> list[Detections]:
        return self.task.predict(self.model, images)


class Theirs:
    """A torchvision detector as its users run it: its own losses, decoding and NMS."""

    def __init__(self, name: str, examples: Examples, size: tuple[int, int]) -> None:
        more: dict[str, Any] = {"box_batch_size_per_image": 64} if name.startswith("fasterrcnn") else {}
        kept = {"weights": None, "weights_backbone": None, "num_classes": len(examples.info.classes) + 1}
        model: Any = torchvision.models.get_model(name, **kept, **more)
        own = model.transform
        model.transform = GeneralizedRCNNTransform(
            min(size), max(size), own.image_mean, own.image_std, own.size_divisible, (size[1], size[0])
        )
        self.model: nn.Module = model
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1

    def loss(self, images: Tensor, targets: Any) -> Tensor:
        objects = [targets.of(row) for row in range(len(images))]
        known = [{"boxes": one.boxes, "labels": one.labels + 1} for one in objects]
        losses: dict[str, Tensor] = self.model(list(images.contiguous()), known)
        return torch.stack(list(losses.values())).sum()

    def predict(self, images: Tensor) -> list[Detections]:
        said = self.model(list(images.contiguous()))
        return [Detections(one["boxes"], one["labels"] - 1, one["scores"]) for one in said]


def run(data: str, size: tuple[int, int], name: str, spelled: str, seconds: float, judged: bool) -> dict[str, Any]:
    """Train for so many CPU seconds, and judge on the test split."""
    torch.manual_seed(0)
    source, task = catalog.make(data, "data"), catalog.make("detection()", "tasks")
    augments = tuple(catalog.make(one, "augments") for one in ("zoom(0.75, 1.33)", "flip()", "colour()"))
    examples = source.open("train")
    batches = Batches(examples, task, batch=8, size=size, augments=augments, shuffle=True, drop_last=True)
    subject = Ours(task, examples, size) if name == OURS else Theirs(name, examples, size)
    optimizer = catalog.make(spelled, "optimizers").build(subject.model)
    losses = _trained(subject, batches, optimizer, seconds)
    row = {"data": data, "model": name, "optimizer": spelled, "seconds": seconds, "steps": len(losses)}
    row["loss"] = sum(losses[-max(len(losses) // 5, 1) :]) / max(len(losses) // 5, 1)
    if judged:
        row |= _judged(subject.model, subject.predict, Batches(source.open("test"), task, batch=8, size=size), task)
    return row


def _trained(subject: Ours | Theirs, batches: Batches, optimizer: Any, seconds: float) -> list[float]:
    schedule = catalog.make("triangle(peak=0.1)", "schedules")
    peaks = [group["lr"] for group in optimizer.param_groups]
    subject.model.train()
    losses: list[float] = []
    begun, epoch = time.process_time(), 0
    while True:
        for batch in batches.epoch(epoch):
            progress = (time.process_time() - begun) / seconds
            if progress >= 1:
                return losses
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * schedule(progress)
            optimizer.zero_grad(set_to_none=True)
            loss = subject.loss(batch.images, batch.targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        epoch += 1


@torch.no_grad()
def _judged(
    model: nn.Module, predict: Callable[[Tensor], list[Detections]], batches: Batches, task: Any
) -> dict[str, Any]:
    model.eval()
    metric, spent, images = task.metric(batches.examples.info), 0.0, 0
    for batch in batches.epoch(0):
        begun = time.process_time()
        found = predict(batch.images)
        spent += time.process_time() - begun
        images += len(found)
        metric.update(found, batch.targets)
    figures = metric.compute()
    kept = {key: figures[key] for key in ("ap", "ap50", "ap75")}
    return {**kept, "interval": figures["intervals"]["ap50"], "n": images, "predicted_per_s": images / spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size", type=int, nargs=2, required=True, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--trial", type=float, default=45)
    parser.add_argument("--out", type=Path, default=Path("runs/equal_time.jsonl"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []

    def once(name: str, spelled: str, seconds: float, judged: bool) -> dict[str, Any]:
        for row in rows:
            if (row["data"], row["model"], row["optimizer"], row["seconds"]) == (asked.data, name, spelled, seconds):
                return row
        row = run(asked.data, tuple(asked.size), name, spelled, seconds, judged)
        with asked.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
        return row

    for name, tried in TRIED.items():
        best = tried[0]
        if len(tried) > 1:
            best = min(tried, key=lambda spelled: float(once(name, spelled, asked.trial, False)["loss"]))
        once(name, best, asked.seconds, True)


if __name__ == "__main__":
    main()

"""Detectors beside torchvision's: images a second in training and prediction, and what our trainer adds to a step.

    python benchmarks/dense_speed.py [--side 320] [--batch 4] [--steps 2] [--turns 3]

CPU seconds of one thread; the models take turns and the median turn counts. Every one sees the same random pictures
with four boxes each of 20 classes: the time of a step does not depend on what they show. torchvision's own models run
as its users run them (losses in training, its own decoding and NMS in prediction), from random weights, by plain SGD;
ours by the same loop, and then by `stalwart.train`. What the trainer costs is measured within its own steps, as two
runs of one thing differ by more than that: all the time of its last epoch, over what forward passes with their loss,
backward passes and the optimizer's steps take of it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Examples, Info, Objects, Sample, Signature
from stalwart.run.train import Training, train

CLASSES = 20
OURS = (
    "dense()",
    "dense(stride=4)",
    "dense(backbone='mobilenetv3_large_100', stride=4)",
    "ssdlite320_mobilenet_v3_large()",
)
"""The last one is torchvision's net with our loss and decoding around it."""
THEIRS = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large")


@dataclass(frozen=True)
class Made:
    """Random pictures of one size with four boxes each."""

    side: int
    count: int

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def open(self, split: str) -> Examples:
        return _Pictures(self.side, self.count if split == "train" else 4)


class _Pictures:
    def __init__(self, side: int, count: int) -> None:
        rng = torch.Generator().manual_seed(0)
        self.info = Info("made", tuple(map(str, range(CLASSES))), "none", "random", 3, (side, side))
        self.strata: Sequence[int] = [0] * count
        self.pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=rng)
        corner = torch.rand(count, 4, 2, generator=rng) * side * 0.6
        boxes = torch.cat([corner, corner + (0.1 + 0.3 * torch.rand(count, 4, 2, generator=rng)) * side], 2)
        labels = torch.randint(CLASSES, (count, 4), generator=rng)
        self.targets = [Objects(own, label) for own, label in zip(boxes, labels, strict=True)]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.pixels[index], self.targets[index], str(index))

    def arrays(self) -> tuple[Tensor, Sequence[Any]]:
        return self.pixels, self.targets


def looped(model: nn.Module, loss: Callable[[], Tensor], steps: int) -> float:
    """CPU seconds a step of a plain loop, the first step left out."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    model.train()
    begun = 0.0
    for number in range(steps + 1):
        if number == 1:
            begun = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return (time.process_time() - begun) / steps


def predicted(model: nn.Module, run: Callable[[], Any], steps: int) -> float:
    """CPU seconds a batch, the first left out."""
    model.eval()
    with torch.no_grad():
        run()
        begun = time.process_time()
        for _ in range(steps):
            run()
    return (time.process_time() - begun) / steps


def ours(spelled: str, side: int, batch: int, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    architecture = catalog.make(spelled, "models")
    task: Any = catalog.make("detection()", "tasks")
    model = architecture.build(Signature(CLASSES, 3, (side, side), "detection"))
    source = Made(side, batch * steps)
    examples: Any = source.open("train")
    images = examples.pixels[:batch].float() / 255
    targets = task.collate(examples.targets[:batch])
    took = {"loop": looped(model, lambda: task.loss(model, images, targets).mean(), steps)}
    took["predict"] = predicted(model, lambda: task.predict(model, images), steps)
    settings = Training(
        epochs=2, batch=batch, optimizer="sgd(lr=1e-5)", val=0.0, precision="fp32", device="cpu", seed=1
    )
    ends: list[tuple[float, float]] = []
    with bare_parts(task) as spent:
        for event in train(source, architecture, task=task, settings=settings):
            if event.kind == "epoch":
                ends.append((time.process_time(), sum(spent)))
    took["train"] = (ends[1][0] - ends[0][0]) / steps
    took["within"] = (ends[1][1] - ends[0][1]) / steps
    return took


def noted(spent: list[float], call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which adds each call's CPU seconds to the list."""

    def timed(*values: Any, **named: Any) -> Any:
        begun = time.process_time()
        found = call(*values, **named)
        spent.append(time.process_time() - begun)
        return found

    return timed


@contextmanager
def bare_parts(task: Any) -> Iterator[list[float]]:
    """CPU seconds of every loss, backward pass and optimizer's step in the block, one number each."""
    spent: list[float] = []
    places: list[tuple[Any, str]] = [(type(task), "loss"), (torch.Tensor, "backward"), (torch.optim.SGD, "step")]
    own = [getattr(where, name) for where, name in places]
    for (where, name), call in zip(places, own, strict=True):
        setattr(where, name, noted(spent, call))
    try:
        yield spent
    finally:
        for (where, name), call in zip(places, own, strict=True):
            setattr(where, name, call)


def theirs(name: str, side: int, batch: int, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    model: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    examples: Any = Made(side, batch).open("train")
    images = list(examples.pixels.float() / 255)
    targets = [{"boxes": one.boxes, "labels": one.labels + 1} for one in examples.targets]
    took = {"loop": looped(model, lambda: sum(model(images, targets).values()), steps)}  # type: ignore[arg-type, return-value]
    took["predict"] = predicted(model, lambda: model(images), steps)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("side", 320), ("batch", 4), ("steps", 2), ("turns", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, float]]] = {}
    for _ in range(asked.turns):
        for spelled in OURS:
            rows.setdefault(f"stalwart {spelled}", []).append(ours(spelled, asked.side, asked.batch, asked.steps))
        for name in THEIRS:
            rows.setdefault(f"torchvision {name}", []).append(theirs(name, asked.side, asked.batch, asked.steps))
    print(f"{asked.side} × {asked.side}, batches of {asked.batch}; images a CPU second, median of {asked.turns} turns")
    print(f"{'':<62}{'loop':>8}{'train':>8}{'trainer':>9}{'predict':>9}")
    for title, turns in rows.items():
        rate = {key: asked.batch / statistics.median(turn[key] for turn in turns) for key in turns[0]}
        cost = statistics.median(turn["train"] / turn["within"] - 1 for turn in turns) if "train" in rate else None
        print(
            f"{title:<62}{rate['loop']:>8.2f}"
            + (f"{rate['train']:>8.2f}{cost:>+9.1%}" if cost is not None else f"{'':>17}")
            + f"{rate['predict']:>9.2f}"
        )


if __name__ == "__main__":
    main()

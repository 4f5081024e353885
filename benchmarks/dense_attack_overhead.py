"""What an attack on a dense task costs over its bare forward and backward passes.

PGD with all its steps on one batch, as `stalwart.attack` runs it (goal, harm, projection, each image's worst point,
judging after 8-bit rounding), beside a bare loop of as many passes: the task's own loss forwards, its gradient
backwards, a signed step, a projection. Ours judges the clean image and the last point besides, and the worst point seen
on the way where that is worse still: two forwards or three, of which two are told apart. Rounds of the two alternate,
and the fastest of each counts; processor time of one thread, which other work on the machine disturbs little.

    python benchmarks/dense_attack_overhead.py [--rounds 5] [--steps 20] [--size 64]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.freeze import frozen

TASKS = (("detection", "objects"), ("semantic", "semantic"), ("instance", "objects"))
EPSILON = 8 / 255


def bare(model: nn.Module, task: Any, images: Tensor, targets: Any, steps: int, looks: int) -> float:
    """Seconds of `steps` forward and backward passes and of `looks` forwards more."""
    begun = time.process_time()
    with frozen(model):
        x = images.clone()
        for _ in range(steps):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(task.loss(model, x, targets).sum(), x)
            with torch.no_grad():
                x = (x + EPSILON / 8 * slope.sign()).clamp(images - EPSILON, images + EPSILON).clamp(0, 1)
        with torch.no_grad():
            for _ in range(looks):
                task.loss(model, x, targets)
    return time.process_time() - begun


def ours(model: nn.Module, task: Any, images: Tensor, given: list[Any], steps: int) -> float:
    attack = catalog.make(f"pgd(steps={steps}, step=0.125)", "attacks")
    begun = time.process_time()
    found = stalwart.attack(model, images, given, attack, f"linf({EPSILON})", task=task)
    seconds = time.process_time() - begun
    assert found.backwards == steps * len(images), "every image takes every step"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {chosen.batch} images of {chosen.size} pixels, {chosen.steps} steps")
    print(f"{'task':<12}{'bare s':>10}{'+ looks s':>11}{'stalwart s':>12}{'over looks':>12}{'over bare':>11}")
    for name, target in TASKS:
        data = catalog.make(f"shapes({target!r}, train={chosen.batch}, size={chosen.size})", "data").open("train")
        task = catalog.make(f"{name}()", "tasks")
        given = [data[index].target for index in range(chosen.batch)]
        images = torch.stack([data[index].image for index in range(chosen.batch)]).float() / 255
        images = images.contiguous(memory_format=torch.channels_last)
        torch.manual_seed(0)
        size = (chosen.size, chosen.size)
        model = catalog.make("dense()", "models").build(Signature(len(data.info.classes), 3, size, name)).eval()
        targets = task.collate(given)
        bare(model, task, images, targets, 2, 0)  # what is made at the first pass is not counted
        rounds = [
            (
                bare(model, task, images, targets, chosen.steps, 0),
                bare(model, task, images, targets, chosen.steps, 2),
                ours(model, task, images, given, chosen.steps),
            )
            for _ in range(chosen.rounds)
        ]
        plain, looked, full = (min(column) for column in zip(*rounds, strict=True))
        share = f"{full / looked - 1:>12.1%}{full / plain - 1:>11.1%}"
        print(f"{name:<12}{plain:>10.2f}{looked:>11.2f}{full:>12.2f}{share}")


if __name__ == "__main__":
    main()

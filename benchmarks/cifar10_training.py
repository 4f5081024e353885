"""From nothing to an accuracy on CIFAR-10: the usual recipe of a first course against ours, on one machine.

    python benchmarks/cifar10_training.py --root DATA                    # everything, one after the other
    python benchmarks/cifar10_training.py --root DATA --only document    # the baseline alone
    python benchmarks/cifar10_training.py --root DATA --only short --seeds 0 1 2
    python benchmarks/cifar10_training.py --root DATA --device cuda      # all of them on the accelerator

document   torchvision's resnet18 from scratch, Adam at 1e-3, batch 128, crop and flip, 10 epochs, plain eager float32,
           in a bare loop as a user would write it, the images in memory.
short      `stalwart.train`, fastnet, one epoch: as soon as possible to the document's final accuracy.
long       `stalwart.train`, a wider fastnet: the best accuracy within the document's time.

All three train on the same 50,000 images and are scored on the same 10,000, at the end of each epoch, outside of the
clock. The clock is the process's CPU time and the wall's; on a machine that others use too, only CPU time compares,
and `--threads 1` makes it comparable. Each run is a process of its own. Rows are appended to --json as they come.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.device import pick
from stalwart.core.freeze import frozen
from stalwart.core.memory import keep_memory
from stalwart.run.evaluate import Averaged
from stalwart.run.train import Training, train

MUON = "muon(lr=0.24, bias_lr=26.5, head_lr=335, decay=0.001)"
RECIPES: dict[str, tuple[str, Training]] = {
    "short": (
        "fastnet()",
        Training(
            epochs=1, batch=500, optimizer=MUON, schedule="triangle(peak=0)", augments=("crop(2)", "altflip()"), val=0.0
        ),
    ),
    "long": (
        "fastnet(widths=(64, 128, 256))",
        Training(
            epochs=16,
            batch=500,
            optimizer=MUON,
            schedule="triangle(peak=0)",
            augments=("crop(2)", "altflip()", "shrink(24, epochs=9)"),
            val=0.0,
        ),
    ),
}


class Clock:
    """Wall and CPU seconds, with pauses for what does not count."""

    def __init__(self, device: torch.device) -> None:
        self.wall = self.cpu = 0.0
        self.device = device
        self.go()

    def go(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        if self.device.type == "cuda":  # what is queued belongs to the training
            torch.cuda.synchronize(self.device)
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, averaged: bool = False) -> float:
    view = Averaged(model) if averaged else model
    right = 0
    with frozen(view), torch.inference_mode():
        for x, y in zip(images.split(500), labels.split(500), strict=True):
            x = x.float().div(255).contiguous(memory_format=torch.channels_last)
            right += int((view(x).argmax(1) == y).sum())
    return right / len(labels)


def document(
    train_set: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    seed: int,
    limit: int | None,
    device: torch.device,
    report: Any,
) -> None:
    torch.manual_seed(seed)
    clock, steps = Clock(device), 0
    x, y = (part.to(device) for part in train_set)
    model = torchvision.models.resnet18(num_classes=10).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    # Each image's own crop, as torchvision's RandomCrop(32, padding=4) takes it, by one look-up for the whole batch.
    windows = F.pad(x, (4, 4, 4, 4)).unfold(2, 32, 1).unfold(3, 32, 1)  # (N, 3, 9, 9, 32, 32), a view
    mean = torch.tensor([0.4914, 0.4822, 0.4465], device=device)
    std = torch.tensor([0.247, 0.2435, 0.2616], device=device)
    for epoch in range(10):
        model.train()
        for index in torch.randperm(len(x), device=device).split(128):
            dy, dx = torch.randint(0, 9, (2, len(index)), device=device)
            images = windows[index, :, dy, dx].float().div(255)  # (B, 3, 32, 32)
            flip = torch.rand(len(images), device=device) < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(3), images)
            images = (images - mean[:, None, None]) / std[:, None, None]
            optimizer.zero_grad()
            F.cross_entropy(model(images), y[index]).backward()
            optimizer.step()
            steps += 1
            if limit and steps >= limit:
                break
        clock.stop()
        model.eval()
        with torch.inference_mode():
            right = sum(
                int((model((a.float() / 255 - mean[:, None, None]) / std[:, None, None]).argmax(1) == b).sum())
                for a, b in zip(test[0].split(500), test[1].split(500), strict=True)
            )
        report(epoch=epoch + 1, accuracy=right / len(test[1]), wall_s=clock.wall, cpu_s=clock.cpu, final=epoch == 9)
        if limit and steps >= limit:
            return
        clock.go()


def ours(
    name: str, root: str, test: tuple[Tensor, Tensor], seed: int, limit: int | None, device: torch.device, report: Any
) -> None:
    from dataclasses import replace

    spelled, settings = RECIPES[name]
    clock = Clock(device)
    source = catalog.make(f"cifar10(root={root!r})", "data")
    architecture = catalog.make(spelled, "models")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = architecture.build(Signature(10, 3, (32, 32)))
    first = source.open("train").arrays()[0][:2000].float() / 255
    architecture.prepare(model, first)
    model = model.to(memory_format=torch.channels_last)
    settings = replace(settings, seed=seed, max_steps=limit, device=str(device))
    for event in train(source, model, objective="clean(smoothing=0.2)", settings=settings):
        if event.kind == "epoch":
            clock.stop()
            epoch = event.values["epoch"]
            final = epoch == settings.epochs
            row = {"epoch": epoch, "accuracy": accuracy(model, *test), "wall_s": clock.wall, "cpu_s": clock.cpu}
            if final:
                row["accuracy_tta"] = accuracy(model, *test, averaged=True)
            report(**row, final=final)
            clock.go()


def one(arguments: argparse.Namespace, recipe: str, seed: int) -> None:
    """One run in this process."""
    torch.set_num_threads(arguments.threads)
    if recipe != "document":
        keep_memory()  # ours does so on the command line too
    source = catalog.make(f"cifar10(root={arguments.root!r})", "data")
    device = pick(arguments.device)
    loaded = source.open("test").arrays()
    test = (loaded[0].to(device), torch.tensor(loaded[1]).to(device))

    def report(**row: Any) -> None:
        full = {"recipe": recipe, "seed": seed, "threads": arguments.threads, "torch": torch.__version__, **row}
        chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
        full |= {"device": str(device), "machine": chip or platform.machine(), "data": source.open("test").info.name}
        print(json.dumps(full), flush=True)
        if arguments.json:
            with open(arguments.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(full) + "\n")

    if recipe == "document":
        images, labels = source.open("train").arrays()
        document((images, torch.tensor(labels)), test, seed, arguments.limit_steps, device, report)
    else:
        ours(recipe, arguments.root, test, seed, arguments.limit_steps, device, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder with cifar-10-batches-py")
    parser.add_argument("--only", nargs="+", choices=["document", *RECIPES], default=["document", *RECIPES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of ours; the document's is 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="of all three alike: cpu, cuda, ...")
    parser.add_argument("--limit-steps", type=int, help="stop each run after so many steps, to try the script")
    parser.add_argument("--json", type=Path, help="append the rows there")
    parser.add_argument("--inside", nargs=2, metavar=("RECIPE", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        one(arguments, arguments.inside[0], int(arguments.inside[1]))
        return
    for recipe in arguments.only:
        for seed in [0] if recipe == "document" else arguments.seeds:
            command = [sys.executable, __file__, *sys.argv[1:], "--inside", recipe, str(seed)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

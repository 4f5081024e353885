"""What the trainer costs: seconds a step of `stalwart.train` beside a bare forward + backward + step loop.

The bare loop runs the same model, batch size and optimizer over batches that lie ready as floats; ours also gathers
each batch, converts it from uint8, sets the learning rate, checks the loss and reports. Both keep torch's plain layout
and float32, so that nothing but the loop differs. Rounds of the two alternate and the fastest round of each counts. On
a CPU the clock is processor time over all threads, which other work on the machine hardly touches; on an accelerator it
is wall time.

    python benchmarks/train_overhead.py [--rounds 5] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from stalwart.core.contracts import Examples, Info
from stalwart.feed.arrays import ArrayExamples
from stalwart.run.train import Training, train


@dataclass(frozen=True)
class Made:
    """Random images of one size: the time of a step does not depend on what they show."""

    channels: int
    side: int
    count: int

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def open(self, split: str) -> Examples:
        info = Info("made", tuple("0123456789"), "none", "random", self.channels, (self.side, self.side))
        count = self.count if split == "train" else 64
        pixels = torch.randint(0, 256, (count, self.channels, self.side, self.side), dtype=torch.uint8)
        return ArrayExamples(info, pixels, (torch.arange(count) % 10).tolist(), f"made {split}")


def digits_net() -> nn.Module:
    """The size of net that digits need."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 10)),
    )


def small_cnn() -> nn.Module:
    """The shape of an airbench-like net for 32×32 colour images, at half its width."""
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 2), nn.GELU()]
    width = 24
    for out in (32, 128, 128):
        layers += [nn.Conv2d(width, out, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(out), nn.GELU()]
        layers += [nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.GELU()]
        width = out
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def bare(make: Callable[[], nn.Module], source: Made, batch: int, steps: int, device: torch.device) -> float:
    """Seconds a step of the plain loop."""
    model = make().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4)
    shape = (batch, source.channels, source.side, source.side)
    images = [torch.rand(shape, device=device) for _ in range(4)]
    targets = torch.arange(batch, device=device) % 10
    for number in range(steps + 3):
        if number == 3:
            begun = _now(device)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(images[number % 4]), targets).backward()
        optimizer.step()
    return (_now(device) - begun) / steps


def ours(make: Callable[[], nn.Module], source: Made, batch: int, steps: int, device: torch.device) -> float:
    """Seconds a step of the trainer, from its first report to its last."""
    model = make().to(device)
    settings = Training(
        epochs=2, batch=batch, optimizer="sgd(lr=1e-4)", val=0.0, precision="fp32", device=str(device), seed=1
    )
    ends: list[float] = []
    for event in train(source, model, settings=settings):
        if event.kind == "epoch":
            ends.append(_now(device))
    return (ends[1] - ends[0]) / steps


def _now(device: torch.device) -> float:
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {name}; milliseconds a step, fastest of {chosen.rounds} rounds")
    print(f"{'net':<12}{'batch':>6}{'bare':>10}{'stalwart':>10}{'overhead':>10}")
    cases = [
        ("digits", digits_net, Made(1, 8, 128 * 100), 128, 100),
        ("small CNN", small_cnn, Made(3, 32, 256 * 6), 256, 6),
    ]
    for title, make, source, batch, steps in cases:
        times = [
            (bare(make, source, batch, steps, device), ours(make, source, batch, steps, device))
            for _ in range(chosen.rounds)
        ]
        plain, full = min(t[0] for t in times), min(t[1] for t in times)
        print(f"{title:<12}{batch:>6}{plain * 1e3:>10.2f}{full * 1e3:>10.2f}{full / plain - 1:>10.1%}")


if __name__ == "__main__":
    main()

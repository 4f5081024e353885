"""CIFAR-10 in one epoch: fastnet with Muon, on a CPU.

JPEG CIFAR-10, 1 epoch: 77.6 %, 78.9 % averaged over views (n = 10,000, seed 0, all 50,000 images, 98 CPU seconds of one
thread of an AMD EPYC with AVX2, 2026-11-23).

    python recipes/cifar10_fast.py DATA [EPOCHS]      # DATA holds cifar-10-batches-py

More epochs and `fastnet(widths=(64, 128, 256))` go further; benchmarks/cifar10_training.py measures both beside the
usual first recipe.
"""

from __future__ import annotations

import sys

import stalwart
from stalwart.core.memory import keep_memory


def main(root: str, epochs: int = 1, out: str = "runs/cifar10-fast") -> None:
    keep_memory()
    settings = stalwart.Training(
        epochs=epochs,
        batch=500,
        # The loss is a mean and the head is divided by its width, so these two rates are large.
        optimizer="muon(lr=0.24, bias_lr=26.5, head_lr=335, decay=0.001)",
        schedule="triangle(peak=0)",
        augments=("crop(2)", "altflip()"),
        val=0.02,
    )
    data = f"cifar10(root={root!r})"
    for event in stalwart.train(data, "fastnet()", objective="clean(smoothing=0.2)", settings=settings, out=out):
        if event.kind == "progress":
            print(f"\rstep {event.values['done']} of {event.values['total']}", end="", flush=True)
    for tta in (False, True):
        *_, result = stalwart.evaluate(out, checkpoint="last", tta=tta)
        print(f"\ntop-1 {result.values['figures']['top1']:.2%}{' averaged over views' if tta else ''}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))

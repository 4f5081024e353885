"""CamVid from scratch on a CPU: our small dense network, and torchvision's LR-ASPP on the same time.

Ours, 24 epochs, seed 0, one thread of an AMD EPYC with AVX2, 2026-11-25: mIoU 64.2 %, pixel accuracy 93.1 % on the 101
images of val, 1,431 CPU s. LR-ASPP, 19 epochs, seed 0, one thread on a machine that much else used, 2026-11-28: mIoU
55.4 %, pixel accuracy 90.2 %, 1,729 CPU s.

    python recipes/camvid.py DATA [ours | lraspp]      # DATA holds train, trainannot, val and valannot

CamVid at 240 x 180: 367 images to train on, the 101 of its val split to judge by, 11 classes, void left out. Nothing is
chosen on those 101: the last epoch counts. No pretrained weights.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import stalwart
from stalwart.core.memory import keep_memory

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
MODELS = {"ours": ("dense(stride=4)", 24), "lraspp": ("lraspp_mobilenet_v3_large()", 19)}
"""Each with the epochs that the same time is enough for."""


def main(root: str, name: str = "ours", out: str = "runs/camvid") -> None:
    keep_memory()
    model, epochs = MODELS[name]
    run = Path(out) / name
    settings = stalwart.Training(
        epochs=epochs,
        batch=8,
        optimizer="muon(lr=0.05, bias_lr=0.05, head_lr=0.05)",
        schedule="triangle(peak=0.1)",
        augments=("zoom(0.75, 1.5)", "flip()", "colour()"),
        val=0.0,
    )
    begun = time.process_time()
    data = f"masks(root={root!r}, classes={CLASSES!r})"
    for event in stalwart.train(data, model, task="semantic()", settings=settings, out=run):
        if event.kind in ("note", "warning", "epoch"):
            print(f"{name}, {time.process_time() - begun:.0f} CPU s:", dict(event.values), flush=True)
    spent = time.process_time() - begun
    *_, result = stalwart.evaluate(run, checkpoint="last")
    figures = result.values["figures"]
    print(f"{name}: mIoU {figures['miou']:.1%}, pixel accuracy {figures['pixel_accuracy']:.1%}, {spent:.0f} CPU s")


if __name__ == "__main__":
    main(*sys.argv[1:])

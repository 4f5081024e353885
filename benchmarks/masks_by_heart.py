"""Whether instance segmentation is right end to end: can a small network learn a few pictures by heart?

    python benchmarks/masks_by_heart.py [--steps 150] [--pictures 16] [--size 64]

The claim: mask AP50 ≥ 0.9 on the pictures it was trained on. Beside it the seconds that faster-coco-eval and
pycocotools take for the same predictions, which must give the same figures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stalwart.core import catalog
from stalwart.core.coco import CocoMetric, coco
from stalwart.core.contracts import Signature

MODEL = "dense(width=16, neck=32, depth=1)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    examples = catalog.make(f"shapes(train={asked.pictures}, size={asked.size})", "data").open("train")
    task, architecture = catalog.make("instance()", "tasks"), catalog.make(MODEL, "models")
    images = torch.stack([examples[i].image for i in range(len(examples))]).float() / 255
    targets = task.collate([examples[i].target for i in range(len(examples))])
    model = architecture.build(Signature(3, 3, (asked.size, asked.size), "instance"))
    architecture.prepare(model, images)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=asked.steps)
    order = torch.Generator().manual_seed(0)
    begun = time.process_time()
    for _ in range(asked.steps):
        chosen = torch.randperm(len(images), generator=order)[:8]
        loss = task.loss(model.train(), images[chosen], targets[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    trained = time.process_time() - begun
    metric = CocoMetric(examples.info.classes, masks=True)
    metric.update(task.predict(model.eval(), images), targets)
    begun = time.process_time()
    figures = metric.compute()
    ours = time.process_time() - begun
    begun = time.process_time()
    stats = peer(metric)
    theirs = time.process_time() - begun
    print(f"{asked.steps} steps of 8 in {trained:.1f} CPU s: mask AP {figures['ap']:.3f}, AP50 {figures['ap50']:.3f}, "
          f"box AP50 {figures['box_ap50']:.3f}")  # fmt: skip
    print(f"masks and boxes scored in {ours:.3f} CPU s; by pycocotools in {theirs:.3f} CPU s, "
          f"mask AP {stats[0]:.3f}, AP50 {stats[1]:.3f}")  # fmt: skip


def peer(metric: CocoMetric) -> list[float]:
    """pycocotools' figures of masks; of boxes too, as ours are."""
    truth, said = coco(metric.rows, metric.classes)
    stats = []
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        for by in ("bbox", "segm"):
            evaluation = COCOeval(known, known.loadRes(said), by)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            stats = list(evaluation.stats)
    return stats


if __name__ == "__main__":
    main()

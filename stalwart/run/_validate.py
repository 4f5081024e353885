"""What training looks at between epochs: the validation score, and robustness where the objective cares for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stalwart.core.contracts import Attack, Info, Task, Threat
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.feed.batches import Batches
from stalwart.run._parallel import World

ROBUST_IMAGES = 512
"""Validation images attacked after each epoch."""


def validate(model: nn.Module, task: Task, batches: Batches, info: Info, world: World) -> dict[str, float]:
    """The metric's plain numbers on a validation split, as val_NAME, and the mean loss as val_loss."""
    metric = task.metric(info)
    device = batches.device
    loss = torch.zeros(2, dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    with frozen(model), torch.inference_mode():
        for batch in batches.epoch(0):
            if not len(batch.images):
                continue
            metric.update(task.predict(model, batch.images), batch.targets)
            each = task.loss(model, batch.images, batch.targets)
            loss += torch.stack([each.sum(), torch.tensor(float(len(each)), device=device)])
    if world.size > 1:
        mine = metric.state()
        metric = task.metric(info)
        metric.merge(world.gather(mine))
        loss = loss.clone()  # out of inference mode
        world.sum_(loss)
    figures = {f"val_{name}": value for name, value in metric.compute().items() if isinstance(value, float)}
    return {**figures, "val_loss": float(loss[0] / loss[1])}


def robust(model: nn.Module, task: Task, batches: Batches, attack: Attack, threat: Threat, seed: int) -> float:
    """The share of the first validation images at which the attack does not reach its goal.

    Quicker than the judge's verdict, and never below it: no rounding, one look at where the attack ended.
    """
    held = total = 0
    with frozen(model):
        for batch in batches.epoch(0):
            goal = task.goal(model, batch.targets)
            worst = attack(batch.images, goal, threat, Noise.of_images(batch.images, seed))
            with torch.no_grad():
                reached = goal(worst).reached
            assert reached is not None
            held += int((~reached).sum())
            total += len(reached)
            if total >= ROBUST_IMAGES:
                break
    return held / max(total, 1)


def watched(objective: Any) -> tuple[Attack, Threat] | None:
    """The attack and threat that an objective wants its training watched with, where it has both."""
    attack, threat = getattr(objective, "attack", None), getattr(objective, "threat", None)
    return (attack, threat) if attack is not None and threat is not None else None

"""What training looks at between epochs: the validation score, and robustness where the objective cares for it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from stalwart.core import rendering
from stalwart.core.contracts import Attack, Info, Rendered, Task, Threat
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.feed.batches import Batches
from stalwart.run._parallel import World

ROBUST_IMAGES = 512
"""Validation images attacked after each epoch."""


def validate(
    model: nn.Module, task: Task, batches: Batches, info: Info, world: World, autocast: AbstractContextManager[Any]
) -> dict[str, float]:
    """The metric's plain numbers on a validation split, as val_NAME, and the mean loss as val_loss.

    A metric that has the mean loss already, as negative log-likelihood (nll), saves a second pass.
    """
    metric = task.metric(info)
    with frozen(model), torch.inference_mode():
        for batch in batches.epoch(0):
            if len(batch.images):
                with autocast:
                    prediction = task.predict(model, batch.images)
                metric.update(prediction, batch.targets)
    if world.size > 1:
        mine, metric = metric.state(), task.metric(info)
        metric.merge(world.gather(mine))
    figures = {f"val_{name}": value for name, value in metric.compute().items() if isinstance(value, float)}
    loss = figures.pop("val_nll", None)
    return {**figures, "val_loss": _mean_loss(model, task, batches, world) if loss is None else loss}


def _mean_loss(model: nn.Module, task: Task, batches: Batches, world: World) -> float:
    total, count = torch.zeros((), device=batches.device), 0
    with frozen(model), torch.no_grad():
        for batch in batches.epoch(0):
            if len(batch.images):
                total += task.loss(model, batch.images, batch.targets).sum()
                count += len(batch.images)
    sums = world.sum_(torch.tensor([float(total), float(count)], device=batches.device))
    return float(sums[0] / sums[1])


def robust(
    model: nn.Module, task: Task, batches: Batches, attack: Attack, threat: Threat | Rendered, seed: int, world: World
) -> float:
    """The share of images at which the attack does not reach its goal, over all processes.

    Quicker than the judge's verdict, and never below it: no rounding, one look at where the attack ended.
    """
    held = torch.zeros(2, device=batches.device)  # those that held, and all
    with frozen(model):
        for batch in batches.epoch(0):
            if not len(batch.images):
                continue
            goal = task.goal(model, batch.targets)
            worst = rendering.worst(attack, batch.images, goal, threat, Noise.of_images(batch.images, seed))
            with torch.no_grad():
                worst = worst if isinstance(threat, Rendered) else threat.project(worst, batch.images)
                reached = goal(worst).reached
            assert reached is not None
            held[0] += (~reached).sum()
            held[1] += len(reached)
    world.sum_(held)
    return float(held[0] / held[1].clamp_min(1))


def watched(objective: Any) -> tuple[Attack, Threat | Rendered] | None:
    """The attack and threat that an objective wants its training watched with, where it has both."""
    attack, threat = getattr(objective, "attack", None), getattr(objective, "threat", None)
    return (attack, threat) if attack is not None and threat is not None else None

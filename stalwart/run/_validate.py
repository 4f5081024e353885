"""What training looks at between epochs: the validation score, and robustness where the objective cares for it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import rendering
from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Attack, Info, Metric, Rendered, Task, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.feed.batches import Batches
from stalwart.run._parallel import World

ROBUST_IMAGES = 512
"""Validation images attacked after each epoch."""
FEWEST_LOOKS = 5
"""An attack that asks the model less often is too weak to watch with."""
PATIENT = "pgd(steps=10)"
"""What watches in its place."""


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
    found = _of_all(metric, task, info, world)
    figures = {f"val_{name}": value for name, value in found.items() if isinstance(value, float)}
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
    model: nn.Module,
    task: Task,
    batches: Batches,
    info: Info,
    attack: Attack,
    threat: Threat | Rendered,
    seed: int,
    world: World,
) -> float:
    """The task's score on attacked validation images, over all processes; for classes, the share that stays right.

    Quicker than the judge's verdict, and never below it: no rounding, one look at where the attack ended. Where an
    image can be spoiled more or less (`Verdict.harm`), the attack takes all its steps.
    """
    metric = task.metric(info)
    graded: bool | None = None
    with frozen(model):
        for batch in batches.epoch(0):
            if not len(batch.images):
                continue
            goal = task.goal(model, batch.targets)
            if graded is None:
                with torch.no_grad():
                    one = torch.zeros(1, dtype=torch.int64, device=batch.images.device)
                    graded = goal.select(one)(batch.images[:1]).harm is not None
            aim = Unstopped(goal) if graded else goal
            worst = rendering.worst(attack, batch.images, aim, threat, Noise.of_images(batch.images, seed))
            with torch.no_grad():
                worst = worst if isinstance(threat, Rendered) else threat.project(worst, batch.images)
                metric.update(task.predict(model, worst), batch.targets)
    return float(_of_all(metric, task, info, world)[task.score])


def _of_all(metric: Metric, task: Task, info: Info, world: World) -> dict[str, Any]:
    """The metric's figures, of what all processes saw."""
    if world.size > 1:
        mine, metric = metric.state(), task.metric(info)
        metric.merge(world.gather(mine))
    return metric.compute()


Watch = tuple[Attack, Threat | Rendered]


def watched(objective: Any) -> Watch | None:
    """The attack and threat that an objective wants its training watched with, where it has both."""
    attack, threat = getattr(objective, "attack", None), getattr(objective, "threat", None)
    return (attack, threat) if attack is not None and threat is not None else None


def hasty(model: nn.Module, task: Task, batches: Batches, watch: Watch, seed: int) -> bool:
    """Whether the attack asks the model about fewer than `FEWEST_LOOKS` images; it is tried on one to find out.

    A model trained on the end of one step can be right there alone, and an attack that ends there does not see it.
    Asking several times about one image, as `eot` does, is one look. An attack that never asks this model, such as one
    upon a surrogate, keeps its place, and so does one that is refused here: who runs it says why.
    """
    attack, threat = watch
    batch = next((batch for batch in batches.epoch(0) if len(batch.images)), None)
    if batch is None:
        return False
    looks: list[Tensor] = []

    def look(_: Any, inputs: tuple[Any, ...]) -> None:
        if not any(torch.equal(inputs[0], one) for one in looks):
            looks.append(inputs[0].detach().clone())
        if len(looks) == FEWEST_LOOKS:
            raise _EnoughError

    first = torch.zeros(1, dtype=torch.int64, device=batch.images.device)
    counting = model.register_forward_pre_hook(look)
    try:
        with frozen(model):
            goal = Unstopped(task.goal(model, batch.targets).select(first))
            rendering.worst(attack, batch.images[:1], goal, threat, Noise.of_images(batch.images[:1], seed))
    except (_EnoughError, InputError):
        return False
    finally:
        counting.remove()
    return bool(looks)


class _EnoughError(Exception):
    """The attack has looked often enough."""

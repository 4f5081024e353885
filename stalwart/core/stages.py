"""How an ensemble of attacks says which part of it is at work, so that the judge can say what each brought down."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from stalwart.core.contracts import Goal, Stage
from stalwart.core.errors import InputError


def enter(goal: Goal, name: str) -> None:
    """From here on, what falls falls to `name`, and the passes are its own. Of no effect where nobody keeps count."""
    way = getattr(goal, "enter", None)
    if way is not None:
        way(name)


@torch.no_grad()
def fallen(goal: Goal, images: Tensor, who: str) -> Tensor:
    """(B,) bool: what has fallen up to now, these `images` (B, C, H, W) looked at once more. One forward pass."""
    reached = goal(images).reached
    way = getattr(goal, "fallen", None)  # a judge that looks every few passes must look now
    if way is not None:
        reached = way()
    if reached is None:
        raise InputError(f"{who} needs a goal that says what is reached; in training it cannot be used.")
    return reached


def together(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """What each part of an ensemble did to several batches, in the order of the parts."""
    sums: dict[str, Stage] = {}
    for stage in stages:
        so_far = sums.get(stage.name, Stage(stage.name, 0, 0, 0, 0))
        sums[stage.name] = Stage(
            stage.name,
            so_far.attacked + stage.attacked,
            so_far.fell + stage.fell,
            so_far.forwards + stage.forwards,
            so_far.backwards + stage.backwards,
        )
    return tuple(sums.values())

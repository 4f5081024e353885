"""A faster form of a model for an attack to climb. What is found is always judged on the model itself, in float32."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Task
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.shielding import shielded
from stalwart.run.probe import choose

Precision = Literal["fp32", "bf16", "auto"]


class Quick(nn.Module):
    """The same weights, passed through in bfloat16 where wanted; outputs are float32, so that losses add up in it.

    Args:
        inner: the model, or a compiled form of it.
    """

    def __init__(self, inner: nn.Module, bf16: bool) -> None:
        super().__init__()
        self.inner, self.bf16 = inner, bf16

    def forward(self, images: Tensor) -> Any:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            out = self.inner(images)
        return out.float() if isinstance(out, Tensor) else out


def quicken(model: nn.Module, precision: str, compile: bool) -> nn.Module | None:
    """The form that an attack climbs; None: the model itself.

    Raises:
        InputError: an unknown precision, or a shielded model to be compiled: attacks go around shields as modules.
    """
    if precision not in ("fp32", "bf16"):
        raise InputError(f"precision must be 'fp32', 'bf16' or (for runs) 'auto'. Got {precision!r}.")
    if compile and shielded(model):
        raise InputError("compile is for models without a shield: an attack that knows the shield goes around it.")
    if precision == "fp32" and not compile:
        return None
    # Batches shrink as samples finish: a form for one size alone would be compiled again and again.
    return Quick(torch.compile(model, dynamic=True) if compile else model, precision == "bf16")  # type: ignore[arg-type]


def measured(model: nn.Module, task: Task, images: Tensor, targets: Any, goal: str, passes: int) -> str:
    """'bf16' where that is measured to be faster on these images, else 'fp32'.

    Args:
        passes: how many are planned, as far as one can tell; few are not worth measuring for.
    """

    def step(trial: nn.Module, pixels: Tensor, labels: Any) -> Tensor:
        x = pixels.detach().requires_grad_()
        return task.goal(trial, labels, goal)(x).loss.sum()

    with frozen(model):
        return choose(model, step, images, targets, images.device, steps=passes, compile=False).precision

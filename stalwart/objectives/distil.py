"""Distillation: learn what another model says, softened."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import above, between, component
from stalwart.core.contracts import Batch, Task
from stalwart.core.errors import InputError
from stalwart.store import checkpoint


@component
class distil:
    """w T² KL(softmax(teacher / T) ‖ softmax(model / T)) + (1 − w) of the task's own loss.

    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015), section 2: a small model learns
    more from a large one's soft labels than from hard ones. With `weight=1` and a high temperature it is the training
    of defensive distillation (Papernot et al., S&P 2016, section IV), whose model is then used with T = 1: its logits
    are some T times as large, which hides the slope and removes no weakness. Softmax is over the outputs' second axis,
    so it serves classes of images and of pixels.
    """

    teacher: str
    """A run folder or a checkpoint of the same classes and image size."""
    temperature: Annotated[float, above(0)] = 4.0
    """T: the higher, the more of the teacher's small probabilities count."""
    weight: Annotated[float, between(0, 1)] = 0.9
    """w: the share of the teacher's word."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        wise = _load(self.teacher, str(batch.images.device))
        with torch.no_grad():
            said = wise(batch.images)
        own = model(batch.images)
        if not isinstance(own, Tensor) or not isinstance(said, Tensor) or own.shape != said.shape:
            shapes = [tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__ for out in (said, own)]
            raise InputError(f"distil(teacher={self.teacher!r}) must give {shapes[1]} like the model. Got {shapes[0]}.")
        heat = self.temperature
        apart = F.kl_div(
            F.log_softmax(own.float() / heat, 1),
            F.log_softmax(said.float() / heat, 1),
            reduction="none",
            log_target=True,
        ).sum(1)
        soft = heat**2 * apart.flatten(1).mean(1) if apart.ndim > 1 else heat**2 * apart
        if self.weight == 1:
            return soft
        return self.weight * soft + (1 - self.weight) * task.loss(_Said(own), batch.images, batch.targets)


class _Said(nn.Module):
    """Outputs that are there already: the task's loss then costs no second forward pass."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs


@lru_cache(maxsize=2)
def _load(path: str, device: str) -> nn.Module:
    return checkpoint.load(path, device=device).requires_grad_(False).eval()

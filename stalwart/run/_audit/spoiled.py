"""Of a task whose images can be spoiled more or less: each image's worst point, and the task's own figure there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Info, Task
from stalwart.run._judge import Ledger
from stalwart.run._worst import Worst

MARGIN = 0.02
"""By how much the task's figure may fall with all reruns until the audited one is doubtful: what another random start
may bring, of a hundred images or so."""


class Spoiled:
    """What all attacks of an audit found together, image by image.

    Args:
        images: (B, C, H, W) the clean images.
        info: what the task's metric asks of the data.
    """

    def __init__(self, model: nn.Module, task: Task, targets: Any, images: Tensor, info: Info) -> None:
        self.model, self.task, self.targets, self.info = model, task, targets, info
        self.worst = Worst(images)
        self.clean = self.figure()
        """The task's figure of the images untouched."""
        self.audited = self.clean
        """By the audited attack."""
        self.lowest = self.clean
        """By that and all reruns within the same threat."""

    @property
    def doubtful(self) -> bool:
        return self.audited - self.lowest > MARGIN

    def see(self, ledger: Ledger, index: Tensor) -> None:
        """Take in what an attack on the samples `index` (b,) found, and measure anew."""
        worse = self.worst.see(ledger.pictures(), ledger.standing, index)
        if bool(worse.any()):
            # Harm only stands for the figure, which may rise a little where it does: the lowest is what was found.
            self.lowest = min(self.lowest, self.figure())

    @torch.no_grad()
    def figure(self, images: Tensor | None = None) -> float:
        """The task's score, in [0, 1], of such pictures (B, C, H, W) or of each image at its worst."""
        metric = self.task.metric(self.info)
        metric.update(self.task.predict(self.model, self.worst.images if images is None else images), self.targets)
        return float(metric.compute()[self.task.score])

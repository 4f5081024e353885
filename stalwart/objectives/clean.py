"""Plain training: minimise the task's loss on the images as they are."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.component import between, component
from stalwart.core.contracts import Batch, Task


@component
class clean:
    """Empirical risk minimisation: the mean of the task's loss over the training images."""

    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing ε: the target is 1 − ε on the label and ε spread over all (Szegedy et al., CVPR 2016)."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return task.loss(model, batch.images, batch.targets, smoothing=self.smoothing)

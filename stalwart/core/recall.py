"""A model that is asked once for what several losses look at."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Recall(nn.Module):
    """The model, which gives its first output again when it is asked for the same tensor.

    A loss of a task and a divergence both ask the model for their own images; through this, two forward passes serve
    both, and BatchNorm sees each image once.

    Args:
        images: tensors whose outputs are to be kept, known by their identity; any others just pass through.
    """

    def __init__(self, model: nn.Module, *images: Tensor) -> None:
        super().__init__()
        self.inner, self.training = model, model.training
        self._images = images
        self._given: dict[int, Any] = {}

    def forward(self, images: Tensor) -> Any:
        place = next((place for place, kept in enumerate(self._images) if kept is images), None)
        if place is None:
            return self.inner(images)
        if place not in self._given:
            self._given[place] = self.inner(images)
        return self._given[place]

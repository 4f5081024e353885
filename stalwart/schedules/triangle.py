"""A learning rate that rises and falls in straight lines."""

from __future__ import annotations

from typing import Annotated

from stalwart.core.component import between, component


@component
class triangle:
    """From `start` to the peak at `peak`, then to `floor`, in straight lines; `peak=0` falls from the first step.

    Smith, "Cyclical learning rates for training neural networks" (WACV 2017), one cycle.
    """

    peak: Annotated[float, between(0, 1)] = 0.2
    """Where the peak stands, as a share of the training."""
    start: Annotated[float, between(0, 1)] = 0.2
    """Factor at the first step."""
    floor: Annotated[float, between(0, 1)] = 0.0
    """Factor at the end."""

    def __call__(self, progress: float) -> float:
        if progress < self.peak:
            return self.start + (1 - self.start) * progress / self.peak
        if self.peak >= 1:
            return 1.0
        return 1 + (self.floor - 1) * min((progress - self.peak) / (1 - self.peak), 1.0)

"""A learning rate that falls along half a cosine."""

from __future__ import annotations

import math
from typing import Annotated

from stalwart.core.component import Range, between, component


@component
class cosine:
    """Rises in a straight line, then falls as (1 + cos π t) / 2.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017), equation 5, one cycle.
    """

    warmup: Annotated[float, Range(0, 1, open_high=True)] = 0.05
    """Share of the training that the rise takes."""
    floor: Annotated[float, between(0, 1)] = 0.0
    """Factor at the end."""

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        t = min((progress - self.warmup) / (1 - self.warmup), 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * t)) / 2

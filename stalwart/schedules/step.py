"""A learning rate that falls in steps."""

from __future__ import annotations

from typing import Annotated

from stalwart.core.component import Range, component


@component
class step:
    """Multiplied by `factor` at each milestone, as in He et al., "Deep residual learning" (CVPR 2016)."""

    milestones: tuple[Annotated[float, Range(0, 1)], ...] = (0.5, 0.75)
    """Shares of the training at which it falls."""
    factor: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    """What it is multiplied by."""

    def __call__(self, progress: float) -> float:
        return self.factor ** sum(progress >= milestone for milestone in self.milestones)

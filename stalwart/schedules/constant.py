"""A learning rate that stays."""

from __future__ import annotations

from stalwart.core.component import component


@component
class constant:
    """The peak rate from the first step to the last."""

    def __call__(self, progress: float) -> float:
        return 1.0

"""How far a runner is, as all of them say it."""

from __future__ import annotations

import time
from typing import Any

from stalwart.core.contracts import Event


def progress(done: int, total: int, begun: float, *, before: int = 0, **figures: Any) -> Event:
    """The progress after `done` images, with the rate and the time left.

    Args:
        total: images in all, those `before` counted in.
        begun: `time.perf_counter()` when the first of the `done` was begun.
        before: images that were done earlier, and say nothing of the rate.
        figures: running figures.
    """
    rate = max(done, 1) / (time.perf_counter() - begun)
    reached = before + done
    values = {"done": reached, "total": total, "unit": "images", "rate": rate, "left_s": (total - reached) / rate}
    return Event("progress", {**values, **figures})

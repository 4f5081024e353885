"""Numbers as people read them, and events as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from stalwart.store.atomic import plain

if TYPE_CHECKING:  # importing it at run time would import PyTorch
    from stalwart.core.contracts import Event


_SHARES = ("top1", "top5", "accuracy", "ece", "confidence", "clean", "robust")
"""Figures in [0, 1] that are read as per cent: these, and names that end in one of them."""


def number(name: str, value: Any) -> str:
    """One figure: a share in per cent, a time in words, a count with thousands."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if name.endswith(_SHARES) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    if name == "seconds":
        return seconds(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """9.2 s, 4:07, 1:02:03."""
    if not math.isfinite(value):
        return "?"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def share(value: Any, interval: Any = None) -> str:
    """A share in per cent with its interval: ``71.3 % (68.9 to 73.6)``."""
    text = f"{100 * float(value):.1f} %"
    return text if interval is None else f"{text} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def json_line(event: Event) -> str:
    """One event as one line of strict JSON; what is not finite becomes null.

    A result's own `kind` (evaluate, attack) is written as `what`, because `kind` is the event's.
    """
    values = plain(dict(event.values))
    what = {"what": values.pop("kind")} if "kind" in values else {}
    return json.dumps({"kind": event.kind, **what, **values}, ensure_ascii=False, allow_nan=False)

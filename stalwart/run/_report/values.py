"""Single values of a file that may hold anything: each is of its type and within its range, or it is None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stalwart.core.statistics import wilson

Interval = tuple[float, float]


def real(source: Any, key: str) -> float | None:
    value = source.get(key) if isinstance(source, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        return None
    return float(value)


def whole(source: Any, key: str) -> int | None:
    value = real(source, key)
    return int(value) if value is not None and value >= 0 and value == math.floor(value) else None


def share(source: Any, key: str) -> float | None:
    value = real(source, key)
    return value if value is not None and 0 <= value <= 1 else None


def is_share(value: Any) -> bool:
    """Whether it is a number in [0, 1]; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def text(source: Any, key: str) -> str:
    value = source.get(key) if isinstance(source, Mapping) else None
    return value if isinstance(value, str) else ""


def items(source: Any, key: str) -> list[Any]:
    value = source.get(key) if isinstance(source, Mapping) else None
    return value if isinstance(value, list) else []


def interval_of(value: Any, accuracy: float, n: int) -> Interval:
    """The interval as it stands in the file, or Wilson's where there is none."""
    if isinstance(value, list) and len(value) == 2:
        ends = {"low": value[0], "high": value[1]}
        low, high = share(ends, "low"), share(ends, "high")
        if low is not None and high is not None and low <= high:
            return low, high
    return wilson(min(round(accuracy * n), n), n)

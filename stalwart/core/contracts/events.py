"""What runners say while they work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """What a runner says while it works.

    kind       values
    start      what begins: total, unit, and the spelled configuration
    progress   done, total, unit, rate (units/s), left_s, and running figures
    epoch      epoch, epochs, and the epoch's figures
    note       message: something the user should know
    warning    message: something the user should act on
    saved      path
    result     the figures at the end
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)


Events = Iterable[Event]

"""Components with every field written out, for readers who do not know the defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from stalwart.core import catalog
from stalwart.core.errors import StalwartError
from stalwart.core.spelling import spell
from stalwart.run._report.record import Record

ROOMS = {"objective": "objectives", "optimizer": "optimizers", "schedule": "schedules"}
"""Parts of a configuration whose constructors do no more than keep their fields: they touch no file."""


def in_full(spelled: str, room: str) -> str:
    """'fgsm()' → 'fgsm(random_start=False)' and so on; '' where nothing is added or the component is unknown."""
    try:
        whole = _whole(catalog.make(spelled, room))
    except StalwartError:  # made by another version, or by a component of the user's own
        return ""
    return whole if whole != spelled else ""


def _whole(value: Any) -> str:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return spell(value)
    fields = [field.name for field in dataclasses.fields(value) if field.init]
    return f"{type(value).__name__}({', '.join(f'{name}={_whole(getattr(value, name))}' for name in fields)})"


def written_out(record: Record) -> list[tuple[str, str]]:
    """(as spelled, in full) of the attacks and of what training was made of, where the short form leaves fields out."""
    found: dict[str, str] = {}
    asked: Iterable[tuple[str, str]] = [
        *((record.spelled(part), room) for part, room in ROOMS.items()),
        *((item.attack, "attacks") for item in record.attacks),
    ]
    for spelled, room in asked:
        if spelled and spelled not in found and (whole := in_full(spelled, room)):
            found[spelled] = whole
    return list(found.items())

"""Several attacks at once."""

from __future__ import annotations

from typing import Any

from stalwart.core.component import component
from stalwart.core.contracts import Tamper
from stalwart.core.errors import SpellingError
from stalwart.drive.adversaries.changes import Joined
from stalwart.drive.adversaries.subject import Subject


@component
class joint:
    """One attacker with several means, such as a poster and a laser: for stacks whose sensors check each other. Each
    part is fitted by itself."""

    parts: tuple[Tamper, ...]
    """The attacks, in the order in which they act."""

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise SpellingError(f"joint.parts must be at least two attacks. Got {len(self.parts)}.")

    def against(self, subject: Subject, seed: int) -> Any:
        return Joined([part.against(subject, seed) for part in self.parts])

    def controls(self) -> dict[str, Tamper]:
        theirs = [list(part.controls().values()) for part in self.parts]
        plain = tuple(found[0] for found in theirs if found)
        return {"the same without craft": joint(plain)} if len(plain) > 1 else {}

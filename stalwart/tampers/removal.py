"""Echoes taken away."""

from __future__ import annotations

from typing import Annotated, Any

from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Tamper
from stalwart.drive.adversaries.echoes import Removed
from stalwart.drive.adversaries.subject import Subject


@component
class removal:
    """What stands ahead falls silent for the LiDAR within an angle (Cao et al., USENIX Security 2023)."""

    window_deg: Annotated[float, between(0, 90)] = 10.0
    """The angle within which echoes can be taken away."""
    mimic: bool = False
    """For an attacker who knows that missing ground is noticed: echoes are moved to where the ground would answer,
    at most `points` of them in a turn."""
    points: Annotated[int, at_least(0)] = 28
    """For `mimic`: echoes moved in a turn."""
    random: bool = False
    """As many rays anywhere in front: the control."""

    def against(self, subject: Subject, seed: int) -> Any:
        return Removed(self.points, self.window_deg, self.mimic, self.random, seed)

    def controls(self) -> dict[str, Tamper]:
        return {} if self.random else {"random rays": removal(self.window_deg, self.mimic, self.points, True)}

"""Echoes that are not there."""

from __future__ import annotations

from typing import Annotated, Any

from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Tamper
from stalwart.drive.adversaries.echoes import Spoofed
from stalwart.drive.adversaries.subject import Subject


@component
class spoof:
    """A phantom car straight ahead for the LiDAR, of so many echoes within an angle (Cao et al., CCS 2019)."""

    distance_m: Annotated[float, above(0)] = 8.0
    """Of the phantom's rear from the LiDAR's car."""
    points: Annotated[int, at_least(0)] = 28
    """A quarter of the rays that `sensors.lidar.Lidar()` sends into 10 degrees."""
    window_deg: Annotated[float, between(0, 90)] = 10.0
    """The angle within which echoes can be put in."""
    random: bool = False
    """So many echoes at random ranges within the window: the control."""

    def against(self, subject: Subject, seed: int) -> Any:
        return Spoofed(self.distance_m, self.points, self.window_deg, self.random, seed)

    def controls(self) -> dict[str, Tamper]:
        return {} if self.random else {"random echoes": spoof(self.distance_m, self.points, self.window_deg, True)}

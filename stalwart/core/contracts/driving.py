"""What the driving world is asked for: roads, situations, and whoever tampers with sensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Roads(Protocol):
    """A family of roads: its fields, a seed among them, say which."""

    def build(self) -> Any:
        """The `drive.geometry.lanes.RoadMap`; the same fields give the same map."""
        ...


@runtime_checkable
class Scenario(Protocol):
    """A situation on the road, or drives among traffic, whose fields say what is swept."""

    def stage(self, split: str, seed: int) -> Any:
        """The `drive.scenarios.stage.Stage`: worlds with everyone in place; the same arguments give the same stage.

        Args:
            split: 'train' or 'test', whose maps differ.
        """
        ...


@runtime_checkable
class Tamper(Protocol):
    """Somebody who changes what a driver's sensors see: an attack whose goal is a drive that fails."""

    def against(self, subject: Any, seed: int) -> Any:
        """The `drive.adversaries.changes.Change`, fitted on the train split's maps.

        Args:
            subject: `drive.adversaries.subject.Subject`: the policy under attack, and where to practise.
        """
        ...

    def controls(self) -> Mapping[str, Any]:
        """The same change without craft, by name: what an attack must beat to be one (tampers of this room)."""
        ...

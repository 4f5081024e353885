"""What somebody changes between the world and a driver: things in the scene, what they are painted with, what is
sensed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn

from stalwart.drive.dressing import Dressed
from stalwart.drive.scene import Scene
from stalwart.drive.sensing import Moment, Sensed, SensorDriver
from stalwart.drive.sensors.skins import Look, default_look
from stalwart.drive.simulation import Worlds


class Change(Protocol):
    """A change for one drive of all its worlds. As a call it is a `sensing.Tamper`."""

    def begin(self, world: Worlds, policy: Any) -> None:
        """A drive begins: forget what was. `policy` is the driver's (`sensing.SensorPolicy`)."""
        ...

    def look(self, look: Look) -> Look:
        """What things are painted with."""
        ...

    def place(self, scene: Scene, world: Worlds) -> None:
        """Put things into the scene, or change what is there, in place; before sensors see it."""
        ...

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        """What the driver gets in place of what was sensed."""
        ...


class Untouched:
    """Changes nothing. Changes build on it."""

    policy: Any = None

    def begin(self, world: Worlds, policy: Any) -> None:
        self.policy = policy

    def look(self, look: Look) -> Look:
        return look

    def place(self, scene: Scene, world: Worlds) -> None:
        pass

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        return sensed


class Joined(Untouched):
    """Several changes, one after the other."""

    def __init__(self, parts: Sequence[Change]) -> None:
        self.parts = tuple(parts)

    def begin(self, world: Worlds, policy: Any) -> None:
        for part in self.parts:
            part.begin(world, policy)

    def look(self, look: Look) -> Look:
        for part in self.parts:
            look = part.look(look)
        return look

    def place(self, scene: Scene, world: Worlds) -> None:
        for part in self.parts:
            part.place(scene, world)

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        for part in self.parts:
            sensed = part(sensed, moment, tick)
        return sensed


class Changed(Dressed):
    """Scenes with what a change puts there."""

    def __init__(self, world: Worlds, change: Change, boxes: int) -> None:
        super().__init__(world, boxes=boxes)
        self._change = change

    def scene(self) -> Scene:
        scene = super().scene()
        self._change.place(scene, self.world)
        return scene


def driver_of(world: Worlds, policy: Any, change: Change | None = None, boxes: int = 48) -> SensorDriver:
    """A policy at the wheel with a change before its sensors; None: nothing is changed.

    Args:
        boxes: of a scene, agents included; what stands farthest away is left out.
    """
    if isinstance(policy, nn.Module):
        policy.eval()
    change = Untouched() if change is None else change
    change.begin(world, policy)
    dressed = Changed(world, change, max(boxes, world.state.agents + 8))
    return SensorDriver(world, policy, tamper=change, dressed=dressed, look=change.look(default_look()))

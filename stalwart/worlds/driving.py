"""The driving world as a decision problem."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from torch import nn

from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Roads
from stalwart.core.errors import InputError

if TYPE_CHECKING:
    from stalwart.drive.simulation import Worlds


@component
class driving:
    """One driver among traffic, who sees the privileged vector of 92 numbers (`drive.observation`)."""

    roads: Roads = "crossroads(seed=1)"  # type: ignore[assignment]
    """The map, as the room `roads` spells it."""
    actions: Literal["continuous", "discrete", "waypoints"] = "continuous"
    """What is decided: acceleration and steering, meta-actions, or four points ahead."""
    seconds: Annotated[float, above(0)] = 60.0
    """After which an episode is cut off."""
    agents: Annotated[int, at_least(1)] = 24
    """Vehicles in each world."""
    walkers: Annotated[int, at_least(0)] = 4
    """People on foot."""
    traffic: str = "mixed"
    """How the others drive."""
    learners: Annotated[int, at_least(1)] = 1
    """Drivers in each world who learn, or are evaluated, at once (at most: their number over all must be a multiple).
    They meet each other besides the traffic, and one step of a world serves all of them."""

    def build(self, count: int) -> Any:
        if self.learners > self.agents:
            raise InputError(f"driving: learners must be at most agents={self.agents}. Got {self.learners}.")
        from stalwart.drive.env import DriveVectorEnv  # Numba's kernels load only where they are wanted

        return DriveVectorEnv(
            self.roads.build(), count, actions=self.actions, seconds=self.seconds, agents=self.agents,
            walkers=self.walkers, traffic=self.traffic, learners=math.gcd(count, self.learners),
        )  # fmt: skip

    def driver(self, world: Worlds, policy: nn.Module) -> Any:
        """Has a policy that was trained here drive other worlds; see `drive.env.Handed`."""
        from stalwart.drive.env import Handed

        return Handed(world, policy, self.actions)

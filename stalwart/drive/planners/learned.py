"""Drivers that were learned: a policy of a run folder or a checkpoint, in the seat that it was trained in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.drive.planners.seat import Seat
from stalwart.drive.sensing import SensorDriver
from stalwart.drive.simulation import Worlds
from stalwart.store import checkpoint

Floats = NDArray[np.float32]


class Seated:
    """A policy that sees what a seat tells and decides what it asks for; always the action thought best."""

    def __init__(self, world: Worlds, policy: nn.Module) -> None:
        self.world, self.policy, self.seat = world, policy.eval(), Seat(world)
        self._memory: Tensor | None = None

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was, in the worlds of the mask (W,)."""
        self.seat.reset(mask)
        if self._memory is not None:
            self._memory[torch.from_numpy(np.repeat(mask, self.world.egos))] = 0

    def __call__(self) -> Floats:
        """(W, E, 2) controls for `Worlds.step`."""
        seen = self.seat.look()
        with torch.no_grad():
            act: Any = self.policy.act
            action, self._memory = act(torch.from_numpy(seen.reshape(-1, seen.shape[-1])), self._memory)
        return self.seat.controls(action.numpy().reshape(*seen.shape[:2], -1))


def learned(path: str) -> Callable[[Worlds], Any]:
    """What makes a driver of the policy of a run folder or a checkpoint: one that has sensors drives through them, for
    others the world that its card names knows how.

    Raises:
        CheckpointError: it cannot be read.
        InputError: it was not trained to drive.
    """
    folder = checkpoint.locate(Path(path))
    card, policy = checkpoint.read_card(folder), checkpoint.load(folder)
    if hasattr(policy, "rig"):
        seeing: Any = policy
        return lambda worlds: SensorDriver(worlds, seeing)
    world = str(card.get("data", ""))
    where = catalog.make(world, "worlds") if world.partition("(")[0] in catalog.names("worlds") else None
    if where is None or not hasattr(where, "driver"):
        raise InputError(f"{path} was not trained to drive: its card names the world {world!r}.")
    return lambda worlds: where.driver(worlds, policy)

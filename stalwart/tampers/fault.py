"""What goes wrong by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch

from stalwart.core.component import component
from stalwart.core.contracts import Tamper
from stalwart.drive.adversaries.changes import Untouched
from stalwart.drive.adversaries.subject import Subject
from stalwart.drive.sensing import Moment, Sensed
from stalwart.drive.sensors.faults import Blackout, DeadPixels, DirtyLens, FrozenFrame
from stalwart.drive.simulation import Worlds

_KINDS: dict[str, Any] = {
    "dirty_lens": DirtyLens, "dead_pixels": DeadPixels, "blackout": Blackout, "frozen_frame": FrozenFrame,
}  # fmt: skip


@component
class fault:
    """A fault of the camera, as `drive.sensors.faults` makes it. Nobody means harm, so it has no control but the clean
    drive."""

    kind: Literal["dirty_lens", "dead_pixels", "blackout", "frozen_frame"] = "dirty_lens"
    """Which; each with its usual strength."""

    def against(self, subject: Subject, seed: int) -> Any:
        return Faulty(self.kind)

    def controls(self) -> dict[str, Tamper]:
        return {}


class Faulty(Untouched):
    """The fault at work; begun anew with each drive."""

    def __init__(self, kind: str) -> None:
        self.kind, self.fault = kind, _KINDS[kind]()

    def begin(self, world: Worlds, policy: Any) -> None:
        self.fault = _KINDS[self.kind]()

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        rgb = (sensed.camera * 255).round().to(torch.uint8).cpu().numpy()
        through = torch.from_numpy(self.fault(rgb, moment.scene)).to(sensed.camera) / 255
        return replace(sensed, camera=through)

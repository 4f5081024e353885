"""What goes wrong by itself."""

from __future__ import annotations

from typing import Any, Literal

import torch

from stalwart.core.component import component
from stalwart.core.contracts import Tamper
from stalwart.drive.adversaries.changes import Untouched
from stalwart.drive.adversaries.pixels import On, eyes_of, pictures_of, with_pictures
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
    on: On = "camera"
    """Whose pictures: 'camera', the second one's ('lookout'), or 'both'."""

    def against(self, subject: Subject, seed: int) -> Any:
        return Faulty(self.kind, self.on)

    def controls(self) -> dict[str, Tamper]:
        return {}


class Faulty(Untouched):
    """The fault at work; begun anew with each drive."""

    def __init__(self, kind: str, on: On) -> None:
        self.kind, self.on = kind, on
        self.faults: dict[str, Any] = {}

    def begin(self, world: Worlds, policy: Any) -> None:
        self.faults = {}

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        for eye in eyes_of(self.on, sensed):
            fault = self.faults.setdefault(eye, _KINDS[self.kind]())  # a frozen frame is that camera's own
            pictures = pictures_of(sensed, eye)
            rgb = (pictures * 255).round().to(torch.uint8).cpu().numpy()
            through = torch.from_numpy(fault(rgb, moment.scene)).to(pictures) / 255
            sensed = with_pictures(sensed, eye, through)
        return sensed

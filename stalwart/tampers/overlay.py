"""One change laid over every picture of the camera."""

from __future__ import annotations

from typing import Annotated, Any

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Attack, Tamper, Threat
from stalwart.drive.adversaries.aims import Aim
from stalwart.drive.adversaries.pixels import On, Overlaid, shared
from stalwart.drive.adversaries.subject import Subject
from stalwart.tampers.camera import camera


@component
class overlay:
    """A universal perturbation: one change for all frames, such as a film on the lens, fitted on maps of the train
    split (Moosavi-Dezfooli et al. 2017).
    """

    threat: Threat = "linf(8/255)"  # type: ignore[assignment]
    """How far a picture may be from the clean one."""
    attack: Attack = "universal(steps=100, batch=32)"  # type: ignore[assignment]
    """One that seeks a single change."""
    aim: Aim = "vanish"
    """See `camera`."""
    on: On = "camera"
    """See `camera`."""
    quiet: Annotated[float, at_least(0)] = 0.0
    """See `camera`."""

    def against(self, subject: Subject, seed: int) -> Any:
        policy, moments = subject.policy, subject.moments()
        found = shared(policy, moments, self.attack, self.threat, self.aim, seed, self.on, self.quiet)
        return Overlaid(found, self.threat)

    def controls(self) -> dict[str, Tamper]:
        return {"noise of that size": camera(self.threat, None, on=self.on)}

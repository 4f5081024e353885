"""Every picture of the camera changed as it comes."""

from __future__ import annotations

from typing import Annotated, Any

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Attack, Tamper, Threat
from stalwart.drive.adversaries.aims import Aim
from stalwart.drive.adversaries.pixels import Climbing, On, Shaken
from stalwart.drive.adversaries.subject import Subject


@component
class camera:
    """An attack of the catalog on each frame, white-box, within a threat; pictures stay whole levels of 255.

    The strongest that somebody who sits between camera and computer can do (Madry et al. 2018, frame by frame).
    """

    threat: Threat = "linf(4/255)"  # type: ignore[assignment]
    """How far a picture may be from the clean one."""
    attack: Attack | None = "pgd(steps=4)"  # type: ignore[assignment]
    """None: noise of the threat's full size, which is the control."""
    aim: Aim = "vanish"
    """'vanish': nobody is perceived any more. 'run': no line to stop at. 'away': controls far from the clean ones.
    'brake': hard braking. 'speed': much acceleration."""
    on: On = "camera"
    """Whose pictures: 'camera', the second one's ('lookout'), or 'both'."""
    quiet: Annotated[float, at_least(0)] = 0.0
    """How much an attacker who knows of the guard 'input' shuns it, against the aim."""

    def against(self, subject: Subject, seed: int) -> Any:
        if self.attack is None:
            return Shaken(self.threat, seed, self.on)
        return Climbing(self.attack, self.threat, self.aim, seed, self.on, self.quiet)

    def controls(self) -> dict[str, Tamper]:
        return {} if self.attack is None else {"noise of that size": camera(self.threat, None, on=self.on)}

"""Whom an attack is made for: a driver's policy, and stages of the train split to practise on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stalwart.drive.adversaries.changes import driver_of
from stalwart.drive.scenarios.stage import Stage
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.sensing import Sensed, joined

STYLES = ("sun", "dusk")
"""The light under which attacks are fitted."""


@dataclass(frozen=True)
class Subject:
    """A policy under attack, and where the attacker may practise: never on maps of the test split."""

    policy: Any
    """`sensing.SensorPolicy`."""
    suite: tuple[str, ...]
    """Scenarios as spelled."""
    seed: int
    styles: Sequence[str] = STYLES

    def stages(self) -> list[Stage]:
        """Each scenario in each style, on maps of the train split."""
        return [
            dataclasses.replace(scenario, style=style).stage("train", self.seed)
            for scenario in scenarios_of(self.suite)
            for style in self.styles
        ]

    def moments(self, every: int = 8, seconds: float = 10.0) -> Sensed:
        """What the policy senses on practice drives, every eighth step of the first ten seconds."""
        kept: list[Sensed] = []
        for stage in self.stages():
            driver = driver_of(stage.world, self.policy)
            for tick in range(round(min(seconds, stage.seconds) / stage.world.dt_s)):
                controls = driver()
                if stage.script is not None:
                    controls[:, 1:] = stage.script(stage.world, tick * stage.world.dt_s)
                if tick % every == 0 and driver.sensed is not None:
                    kept.append(driver.sensed)
                stage.world.step(controls)
        return joined(kept)

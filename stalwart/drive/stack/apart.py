"""A policy with one sensor alone, and the most careful of its opinions with all sensors and with either alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.drive.sensing import Acted, Rig, Sensed

_VIEWS = 3


class Alone(nn.Module):
    """A policy on its rig less one sensor."""

    def __init__(self, policy: Any, without: Literal["camera", "lidar"]) -> None:
        super().__init__()
        self.policy = policy
        self.rig: Rig = replace(policy.rig, without=without)

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        """See `sensing.SensorPolicy`."""
        acted: tuple[Acted, Tensor] = self.policy(sensed, memory)
        return acted


class Apart(nn.Module):
    """Steers as the policy does with all of its sensors, and accelerates as little as any of three of it would: with
    all sensors, with the LiDAR alone, with the camera alone.

    Whoever deceives one sensor can so make it brake, but what the other one by itself would brake for is braked for
    (ablation as a defence: Levine and Feizi, "(De)randomized smoothed classifiers for certifiable defense against patch
    attacks", NeurIPS 2020, here with two parts, the sensors). For policies taught with sensors left out, such as
    `models.driver`. Costs three times the policy.

    Args:
        policy: a `sensing.SensorPolicy` with both sensors.

    Raises:
        InputError: its rig leaves one out.
    """

    guards = ("apart",)

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy
        self.rig: Rig = policy.rig
        if self.rig.without is not None:
            raise InputError(f"the guard 'apart' needs a camera and a LiDAR. Got a rig without {self.rig.without}.")

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        """See `sensing.SensorPolicy`; `perceived.agents` is of each cell the surest of the three."""
        deaf = replace(sensed, lidar=torch.zeros_like(sensed.lidar))
        second = None if sensed.lookout is None else torch.zeros_like(sensed.lookout)
        blind = replace(sensed, camera=torch.zeros_like(sensed.camera), lookout=second)
        held = [None] * _VIEWS if memory is None else memory.chunk(_VIEWS, 1)
        views, kept = zip(*(self.policy(*one) for one in zip((sensed, blind, deaf), held, strict=True)), strict=True)
        accel = torch.stack([one.controls[:, 0] for one in views]).amin(0)
        agents = torch.stack([one.perceived.agents for one in views]).amax(0)
        whole: Acted = views[0]
        controls = torch.stack([accel, whole.controls[:, 1]], 1)
        return Acted(controls, whole.waypoints, replace(whole.perceived, agents=agents)), torch.cat(kept, 1)

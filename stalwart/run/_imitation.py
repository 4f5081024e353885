"""How far a driver's perception and controls are from what would have been right, as one loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stalwart.drive.lessons import Answers
from stalwart.drive.sensing import Acted

_AGENT_WEIGHT = 40.0
"""A cell with somebody in it counts as much as so many without: they are one in two hundred."""
_POINTS = (1.0, 1.0, 1.0, 0.5, 0.2)
_ACCEL_MPS2, _STEER_RAD, _ASIDE_M = 2.0, 0.05, 0.5


def losses(acted: Acted, right: Answers) -> dict[str, Tensor]:
    """Each part's mean; their sum is what is learned from."""
    seen = acted.perceived
    # The weight's logarithm is added to the logits, so that what is learned are chances all the same: the best logit z
    # of a cell with chance p obeys z + log w = log(w p / (1 - p)).
    agents = F.binary_cross_entropy_with_logits(
        seen.agents + math.log(_AGENT_WEIGHT), right.agents,
        pos_weight=torch.tensor(_AGENT_WEIGHT, device=right.agents.device),
    )  # fmt: skip
    there = right.agents[:, None]
    moving = (F.smooth_l1_loss(seen.velocity, right.velocity, reduction="none") * there).sum() / there.sum().clamp(
        min=1
    )
    ruled = (right.signal > 0).float()
    way = F.smooth_l1_loss(seen.line_m / 5, right.line_m / 5, reduction="none")
    aside = F.smooth_l1_loss(
        acted.waypoints[..., 1] / _ASIDE_M, right.waypoints[..., 1] / _ASIDE_M, reduction="none"
    ).mean(0)
    accel, steer = acted.controls.unbind(1)
    wanted = right.controls[:, 0].clamp(-9.0, 3.0)
    return {
        "drivable": F.binary_cross_entropy_with_logits(seen.drivable, right.drivable),
        "agents": 2 * agents,
        "route": F.binary_cross_entropy_with_logits(seen.route, right.route),
        "velocity": 0.1 * moving,
        "signal": F.cross_entropy(seen.signal, right.signal),
        "line": 0.1 * (way * ruled).sum() / ruled.sum().clamp(min=1),
        "aside": 0.5 * (aside * aside.new_tensor(_POINTS)).mean(),
        "accel": F.smooth_l1_loss(accel / _ACCEL_MPS2, wanted / _ACCEL_MPS2),
        "steer": 0.5 * F.smooth_l1_loss(steer / _STEER_RAD, right.controls[:, 1] / _STEER_RAD),
    }

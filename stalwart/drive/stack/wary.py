"""A policy that goes no faster than it can stop where its LiDAR hears nothing though something should answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.drive.planners.pursuit import CAR
from stalwart.drive.sensing import Acted, Rig, Sensed
from stalwart.drive.sensors.echoes import FAINTEST
from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.stack.checks import LOWEST_M, seen_through, standing
from stalwart.drive.stack.corridor import HALF_WIDTH_M, along

Floats = NDArray[np.floating]
_SURE_M, _ALWAYS_M = 28.0, 17.0
"""Ground is asked up to here; up to there it answers in any weather."""
_MARGIN, _LOW, _ENOUGH = 2.5, 0.3, 10
"""By how much the ground aside must answer louder than what is just heard, so that asphalt would be heard there too:
grass and pavements are 2.2 times as bright (`lidar.REFLECTIVITY`). All but 30 % of it, as paint is bright; of ten rays
at least."""
_ASIDE_RAD, _FRONT_RAD = (math.radians(10), math.radians(50)), math.radians(60)
_LIMIT, _NOTICED = 0.5, 2
_EASY_MPS2, _HARDEST_MPS2, _MARGIN_M = 3.0, -9.0, 1.0
_KEPT = 3


def unheard(echoes: Floats, lidar: Lidar, path: Floats, limit: float = _LIMIT) -> tuple[Floats, Floats]:
    """How silent the ground on the way is where it should answer, and how far the way is known.

    Of each channel that meets the ground within 28 m: the share of its rays towards the corridor that are not heard at
    all, neither from the ground nor from a body. Farther than 17 m it counts only while the ground more than 10 degrees
    aside answers so loudly that asphalt would as well: rain and fog silence what is far away, and no attack.

    Args:
        echoes: (W, 3, C, A) as `Sensed.lidar`.
        path: (W, P, 2) the route ahead in the car's frame.
        limit: a channel of a greater share is silent.

    Returns:
        (W,) the greatest share of all channels, and (W,) m from the car's middle: where the last channel before the
        nearest silent one meets the ground, as a body may stand right behind; inf where none is silent.
    """
    slopes = lidar.fan.slopes.astype(np.float64)
    meets = np.where(slopes < 0, lidar.z_m / np.maximum(-slopes, 1e-9), np.inf)
    rows = np.flatnonzero(meets < _SURE_M)
    rows = rows[np.argsort(meets[rows])]  # the nearest first
    meets = meets[rows]
    azimuths = lidar.fan.azimuths + math.radians(lidar.yaw_deg)
    columns = np.flatnonzero(np.cos(azimuths) > math.cos(_FRONT_RAD))
    azimuths = azimuths[columns]
    shape = (len(path), len(rows), len(columns))
    x, y = lidar.x_m + meets[:, None] * np.cos(azimuths), lidar.y_m + meets[:, None] * np.sin(azimuths)
    spots = np.broadcast_to(np.stack([x, y], -1).reshape(1, -1, 2), (len(path), x.size, 2))
    s, away = (part.reshape(shape) for part in along(path, spots))
    part = echoes[:, :, rows][..., columns].astype(np.float64)
    range_m, silent = part[:, 0] * lidar.greatest_m, part[:, 2] <= 0
    way = (away < HALF_WIDTH_M) & (s > 2.0) & (x > 0)
    share = (silent & way).sum(2) / np.maximum(way.sum(2), 1)

    height = lidar.z_m + range_m / np.sqrt(1 + slopes[rows, None] ** 2) * slopes[rows, None]
    twenty = path[:, -2] if path.shape[1] > 1 else path[:, -1]
    off = np.abs((azimuths[None] - np.arctan2(twenty[:, 1], twenty[:, 0])[:, None] + np.pi) % (2 * np.pi) - np.pi)
    aside = ((off > _ASIDE_RAD[0]) & (off < _ASIDE_RAD[1]))[:, None] & (silent | (height < LOWEST_M))
    loud = np.sort(np.where(aside, np.where(silent, 0.0, part[:, 1]), np.inf), -1)
    count = aside.sum(2)
    low = np.take_along_axis(loud, (_LOW * count).astype(np.int64)[..., None], 2)[..., 0]
    just = FAINTEST * (meets * np.sqrt(1 + slopes[rows] ** 2) / lidar.greatest_m) ** 2
    sure = (meets < _ALWAYS_M) | ((count >= _ENOUGH) & (low >= _MARGIN * just))
    share = np.where(sure, share, 0.0)
    gone = share > limit
    known = np.concatenate([[0.0], meets[:-1]])[gone.argmax(1)] if len(rows) else np.zeros(len(path))
    return share.max(1, initial=0.0), np.where(gone.any(1), known, np.inf)


class Wary(nn.Module):
    """Drives as its policy does, but while part of the way is unheard for two steps running, it goes only as fast as it
    can stop at 3 m/s² before that part, and brakes harder where it is faster. Echoes that others shine through are
    taken away before the policy gets them (`checks.seen_through`).

    Against who takes echoes away (Cao et al., "You can't see me", USENIX Security 2023), and phantoms (Sun et al.,
    "Towards robust LiDAR-based perception in autonomous driving", USENIX Security 2020): free space is what was heard
    to be free. It does not help against echoes that are moved to where the ground would answer.

    Args:
        policy: a `sensing.SensorPolicy` with a LiDAR.
        limit: see `unheard`.

    Raises:
        InputError: the rig has no LiDAR, or a limit outside [0, 1].
    """

    def __init__(self, policy: Any, limit: float = _LIMIT) -> None:
        super().__init__()
        self.policy, self.limit = policy, limit
        self.rig: Rig = policy.rig
        if self.rig.without == "lidar":
            raise InputError("the guard 'physics' needs a LiDAR. Got a rig without one.")
        if not 0 <= limit <= 1:
            raise InputError(f"wary.limit must lie in [0, 1]. Got {limit!r}.")
        self.guards: tuple[str, ...] = (*getattr(policy, "guards", ()), "physics")

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        """See `sensing.SensorPolicy`."""
        lidar, echoes = self.rig.lidar, sensed.lidar.detach().cpu().numpy()
        own = sensed.own.detach().cpu().numpy().astype(np.float64)
        share, known = unheard(echoes, lidar, own[:, 4:].reshape(len(own), -1, 2), self.limit)
        acted, kept = self.policy(self._heard(sensed, echoes), None if memory is None else memory[:, :-_KEPT])
        told = np.zeros((len(own), _KEPT)) if memory is None else memory[:, -_KEPT:].cpu().double().numpy()
        streak = np.where(np.isfinite(known), told[:, 0] + 1, 0.0)
        doubt = streak >= _NOTICED
        room = np.maximum(known - CAR.length_m / 2 - _MARGIN_M, 0.5)
        most = np.where(doubt, np.maximum(_EASY_MPS2 - own[:, 0] ** 2 / (2 * room), _HARDEST_MPS2), np.inf)
        accel = torch.minimum(acted.controls[:, 0], torch.from_numpy(most).to(acted.controls))
        now = torch.from_numpy(np.stack([streak, told[:, 1] + doubt, share], 1)).to(kept)
        controls = torch.stack([accel, acted.controls[:, 1]], 1)
        return Acted(controls, acted.waypoints, acted.perceived), torch.cat([kept, now], 1)

    def doubted(self, memory: Tensor) -> dict[str, NDArray[np.int64]]:
        """(W,) steps in which it was in doubt, from the policy's memory."""
        return {"physics": memory[:, -2].cpu().numpy().astype(np.int64)}

    def scored(self, memory: Tensor) -> dict[str, Floats]:
        """(W,) the share of `unheard` in the last step, from the policy's memory."""
        return {"physics": memory[:, -1].cpu().numpy()}

    def _heard(self, sensed: Sensed, echoes: Floats) -> Sensed:
        """Without phantoms."""
        lidar = self.rig.lidar
        range_m = (echoes[:, 0] * lidar.greatest_m).astype(np.float32)
        points = lidar.points(range_m)
        if not standing(points, range_m).any():
            return sensed
        phantom = seen_through(points, range_m, lidar)
        if not phantom.any():
            return sensed
        real = torch.from_numpy(~phantom).to(sensed.lidar)[:, None]
        return Sensed(sensed.camera, sensed.lidar * real, sensed.own, sensed.lookout)

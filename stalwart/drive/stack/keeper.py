"""A policy that follows its route by map and keeps its distance by what its sensors tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.planners.pursuit import CAR, HARD_MPS2, desired_mps, idm, pursue
from stalwart.drive.sensing import Acted, Perceived, Rig, Sensed
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.navigation import Navigation
from stalwart.drive.stack import checks
from stalwart.drive.stack.corridor import FAR_M, REMEMBERED, followed, gap_of
from stalwart.drive.stack.stixels import Stixels, body_odds, places, ranges

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
TRUSTS = ("camera", "lidar", "both")
GUARDS = ("consistency", "physics", "input")
CAMERA = Camera(height=48, width=96, fov_deg=50.0)
"""What the stack's perception is made for."""
_SENSORS = ("camera", "lidar")
_FRONT_M = CAR.length_m / 2
_DT_S = 0.1
NOTICED = 3
"""Steps running in which a score must exceed its limit."""
_STOP_MPS2, _HELD, _LATEST_S, _SIDEWAYS_MPS2 = -4.0, 10, 1.3, 2.0
_HELD_AT = REMEMBERED * len(_SENSORS)
_STREAK, _COUNT = _HELD_AT + 1, _HELD_AT + 1 + len(GUARDS)
_SCORE = _COUNT + len(GUARDS)
MEMORY = _SCORE + len(GUARDS)
"""Numbers that the policy remembers of each world."""


class Keeper(nn.Module):
    """Drives the first car of each world: pure pursuit along the route, speeds by its bends and the limit, IDM behind
    what it perceives, and hard braking where that would be reached within 1.3 s. While a guard is in doubt, and for a
    second after, it brakes with 4 m/s².

    It sees neither signals nor priority: for roads where there are none. It knows where it is to a few centimetres.
    What it perceives is told as log-odds of a body in each column of the picture, `Perceived.agents` (W, 1, columns),
    differentiable; its controls are not.

    Args:
        model: the perception.
        trust: whose gap is kept: 'camera', 'lidar', or the smaller one of 'both'.
        guards: 'consistency' brakes where camera and LiDAR disagree about the corridor, and keeps both gaps; 'physics'
            leaves out echoes that others shine through, and brakes where ground echoes are missing; 'input' brakes
            where pictures do not bear smoothing.
        limits: by guard, from which score on it is in doubt; others keep those of `checks.LIMITS`.

    Raises:
        InputError: an unknown trust or guard, or a limit below 0.
    """

    def __init__(
        self, model: Stixels, trust: str = "camera", guards: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.trust = expect_choice("stack.trust", trust, TRUSTS)
        for guard in guards:
            expect_choice("stack.guards", guard, GUARDS)
        for guard, limit in (limits or {}).items():
            expect_choice("stack.limits", guard, GUARDS)
            if not limit >= 0:
                raise InputError(f"stack.limits[{guard!r}] must be at least 0. Got {limit!r}.")
        self.model, self.guards, self.limits = model, tuple(guards), {**checks.LIMITS, **(limits or {})}
        both = trust == "both" or bool({"consistency"} & set(guards))
        self.kept = _SENSORS if both else (trust,)
        """Whose gaps are kept."""
        heard = "lidar" in self.kept or "physics" in guards
        navigation = Navigation(position_m=0.03, drift_m=0.05, heading_rad=0.002)
        self.rig = Rig(camera=CAMERA, navigation=navigation, without=None if heard else "lidar")

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        """See `sensing.SensorPolicy`."""
        worlds = len(sensed.own)
        old = np.zeros((worlds, MEMORY)) if memory is None else memory.detach().cpu().double().numpy()
        new = old.copy()
        logits = self.model(sensed.camera)
        own = sensed.own.detach().cpu().numpy()
        speed, path = own[:, 0].astype(np.float64), own[:, 4:].reshape(worlds, -1, 2)
        gaps, scores = self._perceived(sensed, logits.detach(), path, speed)
        route = _as_seen(own, path)
        desired, accel = desired_mps(route)[:, 0], np.full(worlds, np.inf)
        for k, name in enumerate(_SENSORS):
            if name not in self.kept:
                continue
            mine = slice(k * REMEMBERED, (k + 1) * REMEMBERED)
            gap, leader, new[:, mine] = followed(old[:, mine], gaps[name], speed, _DT_S)
            closing = np.maximum(speed - leader, 0.1)
            hard = (gap < FAR_M) & ((gap / closing < _LATEST_S) | (gap < 0.35 * speed + 0.5)) & (speed > 0.3)
            accel = np.minimum(accel, np.where(hard, HARD_MPS2, idm(speed, desired, gap, leader)))
        alarm = np.zeros(worlds, np.bool_)
        for guard, score in scores.items():
            k = GUARDS.index(guard)
            new[:, _SCORE + k] = score
            new[:, _STREAK + k] = np.where(score > self.limits[guard], old[:, _STREAK + k] + 1, 0)
            sure = new[:, _STREAK + k] >= NOTICED
            new[:, _COUNT + k] += sure
            alarm |= sure
        new[:, _HELD_AT] = np.where(alarm, _HELD, np.maximum(old[:, _HELD_AT] - 1, 0))
        accel = np.where(new[:, _HELD_AT] > 0, np.minimum(accel, _STOP_MPS2), accel)
        controls = np.stack([accel, pursue(route)[:, 0]], -1).astype(np.float32)
        acted = Acted(torch.from_numpy(controls), torch.from_numpy(path.copy()), _told(logits))
        return acted, torch.from_numpy(new)

    def doubted(self, memory: Tensor) -> dict[str, NDArray[np.int64]]:
        """(W,) by guard: steps in which it was in doubt, from the policy's memory."""
        counts = memory.numpy()[:, _COUNT:_SCORE].astype(np.int64)
        return {guard: counts[:, GUARDS.index(guard)] for guard in self.guards}

    def scored(self, memory: Tensor) -> dict[str, Floats]:
        """(W,) by guard: its score in the last step, from the policy's memory; in doubt is who exceeds its limit in
        three steps running."""
        return {guard: memory.numpy()[:, _SCORE + GUARDS.index(guard)] for guard in self.guards}

    def _perceived(
        self, sensed: Sensed, logits: Tensor, path: Floats, speed: Floats
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """(W,) gaps in m by sensor, and scores by guard."""
        gaps: dict[str, Floats] = {}
        scores: dict[str, Floats] = {}
        depth = ranges(logits).cpu().numpy()
        gaps["camera"] = gap_of(path, places(depth, self.rig.camera), np.isfinite(depth), _FRONT_M)
        if "input" in self.guards:
            with torch.no_grad():
                scores["input"] = checks.unsteady(self.model, sensed.camera).cpu().numpy()
        if self.rig.without is None:
            lidar = self.rig.lidar
            heard = (sensed.lidar[:, 0].detach().cpu().numpy() * lidar.greatest_m).astype(np.float32)
            points = lidar.points(heard)
            body = checks.standing(points, heard)
            if "physics" in self.guards:
                body &= ~checks.seen_through(points, heard, lidar)
                scores["physics"] = checks.hole(heard, lidar, path)
            gaps["lidar"] = _nearest(path, points, body)
        if "consistency" in self.guards:
            scores["consistency"] = checks.disagreement(gaps["camera"], gaps["lidar"], speed)
        return gaps, scores


def _as_seen(own: Floats, path: Floats) -> Floats:
    """(W, 1, 92) as `observation.observe` has it, of what is known without it: the speed, the limit, and along the
    route places and the speeds at which its bends are driven with 2 m/s² sideways."""
    seen = np.zeros((len(own), 1, 92), np.float32)
    seen[:, 0, 0], seen[:, 0, 6] = own[:, 0], own[:, 3]
    before, here, after = path[:, :-2], path[:, 1:-1], path[:, 2:]
    sides = [np.linalg.norm(a - b, axis=-1) for a, b in ((here, before), (after, here), (after, before))]
    ahead, beside = here - before, after - before
    twice = np.abs(ahead[..., 0] * beside[..., 1] - ahead[..., 1] * beside[..., 0])
    bend = 2 * twice / np.maximum(sides[0] * sides[1] * sides[2], 1e-6)  # Menger curvature: of the circle through three
    cap = np.sqrt(_SIDEWAYS_MPS2 / np.maximum(bend, 1e-4))
    caps = np.concatenate([cap[:, :1], cap, cap[:, -1:]], 1)
    seen[:, 0, 7:22] = np.concatenate([path, caps[..., None]], -1).reshape(len(own), -1)
    return seen


def _told(logits: Tensor) -> Perceived:
    """What the stack perceives; of what it has no sense for, nothing (a single cell of 0)."""
    nothing = logits.new_zeros(len(logits), 1, 1)
    return Perceived(nothing, body_odds(logits)[:, None], nothing.expand(-1, 2, 1)[..., None], nothing,
                     logits.new_zeros(len(logits), 6), logits.new_zeros(len(logits)))  # fmt: skip


def _nearest(path: Floats, points: Floats, body: Flags) -> Floats:
    """(W,) the LiDAR's gap, from points (W, C, A, 3) and which of them stand on the road. Most do not: those that do
    are packed together first, as the geometry costs more than the search for them."""
    flags = body.reshape(len(body), -1)
    most = max(2, int(flags.sum(1).max()))
    order = np.argsort(~flags, axis=1, kind="stable")[:, :most]
    flat = np.take_along_axis(points[..., :2].reshape(len(body), -1, 2), order[..., None], 1)
    return gap_of(path, flat, np.take_along_axis(flags, order, 1), _FRONT_M, least=2)

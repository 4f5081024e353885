"""A driver's seat: what a learned driver is told, and what it decides; the hands that steer are given.

The privileged vector leaves out who must give way to whom, who will cross and what merging asks for. Told besides is
what the rules of the road say (`planners.foresight`), how hard to brake for each of it by the intelligent driver model,
and who drives ahead and behind in the lane that the route goes on in. Decided are the acceleration and whether to move
over to that lane; steering along a lane is no matter of judgement and is left to the expert's hands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.observation import OBSERVED, SCALE
from stalwart.drive.planners.expert import COMMITTED_M, STOP_MARGIN_M, Expert, Foresight, beside, steer_along
from stalwart.drive.planners.foresight import (
    FORESEEN,
    LEAD_GAP,
    LEAD_MPS,
    NEAR_GAP,
    NEAR_MPS,
    STOP_WAY,
)
from stalwart.drive.planners.pursuit import CAR, desired_mps, idm
from stalwart.drive.simulation import Worlds

Floats = NDArray[np.float32]
DECIDED = 2
"""Numbers of an action, each from −1 to 1: the acceleration, as a part of the hardest braking or of `MOST_MPS2`; and
whether to move over to the lane that the route goes on in, above 0: yes."""
MOST_MPS2 = 2.5
_HARDEST = CAR.most_brake_mps2
_SAYS_YES = 0.5
_FORESEEN_SCALE = np.array([50.0, 15.0, 50.0, 15.0, 50.0, 2.5, 2.0, 0.5, 0.1], np.float32)
_WISHES, _MERGING = 4, 5
TOLD = OBSERVED + len(FORESEEN) + _WISHES + _MERGING
"""Numbers that a driver is told: 110."""
_MOST = 4.0


class Seat:
    """The seats of all drivers from outside, in all worlds."""

    def __init__(self, world: Worlds) -> None:
        self.world = world
        self._ahead = np.zeros((world.worlds, world.egos, len(FORESEEN)), np.float32)
        self._foresight = Foresight(world)
        self._seen: Floats = np.zeros((world.worlds, world.egos, OBSERVED), np.float32)
        self._beside = np.zeros((world.worlds, world.egos), np.bool_)
        self._over = np.zeros((world.worlds, world.egos), np.bool_)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was under way, in the worlds of the mask (W,)."""
        self._over[mask] = False

    def look(self) -> Floats:
        """(W, E, 110): the vector over `observation.SCALE`; what is foreseen (`foresight.FORESEEN`) over 50 m, 15 m/s,
        2.5 s, 2 m, 0.5 rad and 0.1 per metre; accelerations that the intelligent driver model wishes for, alone, behind
        who leads, behind who is in the way and before the stop line, over 5 m/s²; 1 where the lane to be in is another,
        then there the gap to who is ahead, how much slower it is, the gap to who is behind, how much faster it is, over
        20 m and 10 m/s. All are cut at ±4, the vector at ±10.
        """
        self._ahead = ahead = self._foresight()
        self._seen = seen = self.world.observe()
        speed = seen[..., 0]
        self._beside = beside(self.world, seen[..., 3])
        out = np.empty((*seen.shape[:2], TOLD), np.float32)
        np.clip(seen / SCALE, -10.0, 10.0, out=out[..., :OBSERVED])
        at = OBSERVED + len(FORESEEN)
        out[..., OBSERVED:at] = ahead / _FORESEEN_SCALE
        desired, still = desired_mps(seen), np.zeros_like(speed)
        out[..., at] = idm(speed, desired, np.full_like(speed, 1e3), still)
        out[..., at + 1] = idm(speed, desired, ahead[..., LEAD_GAP], ahead[..., LEAD_MPS])
        out[..., at + 2] = idm(speed, desired, np.maximum(ahead[..., NEAR_GAP], 0.1), ahead[..., NEAR_MPS])
        out[..., at + 3] = idm(speed, desired, np.maximum(ahead[..., STOP_WAY] + STOP_MARGIN_M, 0.1), still)
        out[..., at : at + _WISHES] /= 5.0
        out[..., at + _WISHES :] = self._merging(seen)
        np.clip(out[..., OBSERVED:], -_MOST, _MOST, out=out[..., OBSERVED:])
        return out

    def controls(self, action: Floats) -> Floats:
        """(W, E, 2) accelerations [m/s²] and steering angles [rad] of actions (W, E, 2) after the last `look`."""
        push = action[..., 0]
        accel = np.where(push > 0, MOST_MPS2, _HARDEST) * push
        # Once half over it goes on, as the expert does: between two lanes is no place to think again.
        half = self._over & (np.abs(self._seen[..., 3]) < COMMITTED_M)
        self._over = self._beside & ((action[..., 1] > 0) | half)
        waits = self._beside & ~self._over
        steer = steer_along(self._seen, self._ahead.astype(np.float64), waits)
        return np.stack([accel, steer], -1).astype(np.float32)

    def _merging(self, seen: Floats) -> Floats:
        """(W, E, 5); see `look`."""
        speed, d, heading = seen[..., 0, None], seen[..., 3, None], seen[..., 4, None]
        others = seen[..., 28:].reshape(*seen.shape[:2], 8, 8)
        x, y, cosine, theirs, length = (others[..., k] for k in (0, 1, 2, 4, 5))
        along = x * np.cos(heading) - y * np.sin(heading)
        across = x * np.sin(heading) + y * np.cos(heading) + d
        there = (length > 0) & (np.abs(across) < seen[..., 5, None]) & self._beside[..., None]
        clear = np.abs(along) - (length + CAR.length_m) / 2
        out = np.zeros((*seen.shape[:2], _MERGING), np.float32)
        out[..., 0] = self._beside
        for k, (side, sign) in enumerate(((along >= 0, 1.0), (along < 0, -1.0))):
            gaps = np.where(there & side, clear, 80.0)
            who = gaps.argmin(-1)[..., None]
            gap = np.take_along_axis(gaps, who, -1)[..., 0]
            faster = np.take_along_axis(sign * (speed - theirs * cosine), who, -1)[..., 0]
            out[..., 1 + 2 * k] = gap / 20.0
            out[..., 2 + 2 * k] = np.where(gap < 80.0, faster / 10.0, 0.0)
        return out


class Adviser:
    """What the rule-based expert would decide in a driver's seat."""

    def __init__(self, world: Worlds) -> None:
        self._expert = Expert(world)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was under way, in the worlds of the mask (W,)."""
        self._expert.reset(mask)

    def __call__(self) -> Floats:
        """(W, E, 2) the expert's action now."""
        accel = self._expert()[..., 0]
        push = np.where(accel > 0, accel / MOST_MPS2, accel / _HARDEST)
        over = np.where(self._expert.waits, -_SAYS_YES, _SAYS_YES)
        action: Floats = np.clip(np.stack([push, over], -1), -1.0, 1.0).astype(np.float32)
        return action

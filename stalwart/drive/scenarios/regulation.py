"""Which cut-ins are to be survived: Regulation (EU) 2022/1426 and UN Regulation 157."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.simulation import Worlds

Doubles = NDArray[np.float64]
_LINE_M, _PAST_M = 1.8, 0.3
_BRAKES_MPS2, _JERK_MPS3, _LATENCY_S = 6.0, 20.0, 0.1
_WANDERS_M, _PERCEIVES_S, _DELAY_S, _FULL_MPS2, _RISES_S = 0.375, 0.4, 0.75, 0.774 * 9.81, 0.6


def eu_least_ttc_s(slower_mps: Doubles | float, brake_mps2: float = _BRAKES_MPS2) -> Doubles:
    """Time to collision at the intrusion above which a collision is to be avoided.

    Regulation (EU) 2022/1426, annex III, part 1, 1.4.2: v / (2 b) + b / (2 j) + ρ, where braking begins ρ = 0.1 s late
    and grows by j = 20 m/s³ to b = 6 m/s², or to 2.4 m/s² where people stand in the vehicle.
    """
    slower = np.maximum(np.asarray(slower_mps, np.float64), 0.0)
    return np.asarray(slower / (2 * brake_mps2) + brake_mps2 / (2 * _JERK_MPS3) + _LATENCY_S)


def careful_human_avoids(gap_m: Doubles, slower_mps: Doubles, since_s: Doubles) -> NDArray[np.bool_]:
    """Whether UN Regulation 157's careful human driver keeps from hitting who cuts in.

    Annex 4, appendix 3, table 1 (performance model factors for vehicles): the risk is perceived when the other's centre
    is more than 0.375 m from the middle of its lane; 0.4 s to evaluate it, 0.75 s from having perceived until braking
    begins, 0.6 s until it has grown to 0.774 g on a dry road. Emergency braking once they overlap wholly (0.85 g)
    is left out. The European Commission's model of this driver (github.com/ec-jrc/JRC-FSM, `CC_human_driver`) has the
    same figures, takes the 0.4 s as 0.72 m at 1.8 m/s across, and also coasts at 0.4 m/s² while it reacts and waits
    where the time to collision is above 2 s; here it neither coasts nor waits.

    Args:
        gap_m: at the intrusion. slower_mps: of the other. since_s: seconds from where it left that zone to there.
    """
    waits = np.maximum(_PERCEIVES_S + _DELAY_S - since_s, 0.0)
    closing, gap = np.array(slower_mps, np.float64), np.array(gap_m, np.float64)
    least, dt = gap.copy(), 0.005
    for k in range(round(12 / dt)):
        brake = _FULL_MPS2 * np.clip((k * dt - waits) / _RISES_S, 0.0, 1.0)
        gap = gap - dt * closing
        closing = closing - dt * brake
        least = np.where(closing > -dt * _FULL_MPS2, np.minimum(least, gap), least)
    return np.asarray(least > 0)


class Intrusion:
    """The first driver's lane and actor 1: when it leaves its wandering zone, and when it is 0.3 m past the line."""

    def __init__(self, worlds: int) -> None:
        self._left_s, self._in_s = np.full(worlds, np.inf), np.full(worlds, np.inf)
        self._gap_m, self._slower_mps = np.zeros(worlds), np.zeros(worlds)

    def note(self, world: Worlds, gap_m: Doubles, time_s: float) -> None:
        """Look at the worlds before a step."""
        s = world.state
        # Where the actor is across the first driver's lane: it comes from the left.
        beside = s.lane[:, 1] != s.lane[:, 0]
        d = s.d_m[:, 1] + np.where(beside, 2 * _LINE_M, 0.0)
        edge = d - s.width_m[:, 1] / 2
        left = np.isinf(self._left_s) & (d < 2 * _LINE_M - _WANDERS_M)
        self._left_s = np.where(left, time_s, self._left_s)
        now = np.isinf(self._in_s) & (edge < _LINE_M - _PAST_M)
        self._in_s = np.where(now, time_s, self._in_s)
        self._gap_m = np.where(now, gap_m, self._gap_m)
        self._slower_mps = np.where(now, s.speed_mps[:, 0] - s.speed_mps[:, 1], self._slower_mps)

    def facts(self) -> list[dict[str, Any]]:
        """(W,) the time to collision at the intrusion, the regulation's, and whether a collision is to be avoided."""
        began, ended = (np.where(np.isfinite(self._in_s), at, 0.0) for at in (self._left_s, self._in_s))
        human = careful_human_avoids(self._gap_m, self._slower_mps, ended - began)
        bound = eu_least_ttc_s(self._slower_mps)
        out: list[dict[str, Any]] = []
        for w in range(len(human)):
            came, slower = bool(np.isfinite(self._in_s[w])), float(self._slower_mps[w])
            # Who was slowed down for before it came in is no danger.
            ttc = max(float(self._gap_m[w]), 0.0) / slower if came and slower > 0 else None
            out.append({
                "ttc_at_intrusion_s": ttc, "eu_least_ttc_s": float(bound[w]),
                "avoidable": ttc is None or ttc > float(bound[w]), "avoidable_by_human": ttc is None or bool(human[w]),
            })  # fmt: skip
        return out

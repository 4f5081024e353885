"""The intelligent driver model, and when changing lanes pays."""

from __future__ import annotations

import math

from stalwart.drive.compiled import kernel, part, single

_ZERO, _ONE, _TWO = single(0.0), single(1.0), single(2.0)
_LEAST_GAP_M, _HARDEST_MPS2, _SLOWEST_MPS = single(0.1), single(-9.0), single(0.1)
_COAST_MPS2 = single(-3.0)


@part
def idm(
    speed: float, desired: float, gap: float, leader: float, headway: float, accel: float, brake: float, standing: float
) -> float:
    """Acceleration [m/s²] behind a leader `gap` metres ahead (bumper to bumper) at `leader` m/s.

    Treiber, Hennecke and Helbing, "Congested traffic states in empirical observations and microscopic simulations"
    (Physical Review E 2000), equations 2 and 3 with δ = 4. Above the desired speed its first two terms ask for no more
    than −3 m/s², so that a driver slows down for a lower limit as people do; the whole is at least −9 m/s².
    """
    ratio = speed / max(desired, _SLOWEST_MPS)
    square = ratio * ratio
    free = max(accel * (_ONE - square * square), _COAST_MPS2)
    wanted = standing + max(speed * headway + speed * (speed - leader) / (_TWO * math.sqrt(accel * brake)), _ZERO)
    near = wanted / max(gap, _LEAST_GAP_M)
    return max(free - accel * near * near, _HARDEST_MPS2)


@kernel
def equilibrium_gap(speed: float, desired: float, headway: float, standing: float) -> float:
    """The gap [m] at which `idm` neither gains nor loses speed behind a leader of the same speed."""
    ratio = speed / desired
    return (standing + speed * headway) / math.sqrt(_ONE - ratio * ratio * ratio * ratio)


@part
def change_pays(
    mine_now: float, mine_then: float, new_now: float, new_then: float, old_now: float, old_then: float,
    politeness: float, threshold: float, safe_brake: float,
) -> bool:  # fmt: skip
    """MOBIL: whether to change lanes, from accelerations [m/s²] before and after: the driver's, both followers'.

    Kesting, Treiber and Helbing, "General lane-changing model MOBIL for car-following models" (Transportation Research
    Record 2007), equations 1 and 2. The driver too must not have to brake harder than is safe.
    """
    if new_then < -safe_brake or mine_then < -safe_brake:
        return False
    return mine_then - mine_now + politeness * (new_then - new_now + old_then - old_now) > threshold

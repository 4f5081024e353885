"""The kinematic bicycle with limits: how a body moves in one tick under what its driver asks for.

The reference point is the middle of the box, halfway between the axles. See Kong et al., "Kinematic and dynamic
vehicle models for autonomous driving control design" (IV 2015), equations 1 and 2. Within a tick acceleration and
steering angle are constant, so the path is an arc, followed exactly.
"""

from __future__ import annotations

import math

from stalwart.drive.compiled import part, single
from stalwart.drive.world.angles import angle_of

_ZERO, _QUARTER, _HALF, _ONE = single(0.0), single(0.25), single(0.5), single(1.0)
_SIXTH, _12TH, _20TH, _LEAST, _TINY = single(1 / 6), single(1 / 12), single(1 / 20), single(0.05), single(1e-12)


@part
def asked_accel(
    accel: float, wanted: float, most_accel: float, most_brake: float, jerk: float, grip: float, dt: float
) -> float:
    """Acceleration [m/s²] after jerk limit, engine and brakes, and the friction circle's radius `grip` [m/s²]."""
    change = min(max(wanted - accel, -jerk * dt), jerk * dt)
    return max(min(accel + change, min(most_accel, grip)), -min(most_brake, grip))


@part
def asked_steer(steer: float, wanted: float, most_steer: float, rate: float, dt: float) -> float:
    """Steering angle [rad] after its rate limit and stop."""
    change = min(max(wanted - steer, -rate * dt), rate * dt)
    return min(max(steer + change, -most_steer), most_steer)


@part
def driven(speed: float, accel: float, dt: float) -> tuple[float, float]:
    """The way [m] that a body drives in a tick, and its speed after it; who would stop in between does so there."""
    later = speed + accel * dt
    # Without a branch, as is all that follows, so that eight go through one instruction.
    stops = later < _ZERO
    way = -_HALF * speed * speed / accel if stops else (speed + later) * _HALF * dt
    return way, _ZERO if stops else later


@part
def curved(speed: float, accel: float, bend: float, wheelbase: float, grip: float) -> float:
    """The path's curvature [1/m] for the tangent `bend` of the steering angle.

    Where speed² × curvature and acceleration leave the friction circle (radius `grip`), the path is the widest arc that
    the circle still allows: the body slides on, its wheels over.
    """
    slip = _HALF * bend  # tangent of the angle between the heading and the course of the middle
    curvature = bend / (math.sqrt(_ONE + slip * slip) * wheelbase)
    square = speed * speed
    aside = math.sqrt(max(grip * grip - accel * accel, _ZERO))
    widest = math.copysign(aside / max(square, _TINY), curvature)
    return widest if abs(curvature) * square > aside else curvature


@part
def displaced(way: float, curvature: float, bend: float) -> tuple[float, float]:
    """(forward, left) [m], as a body sees it, that it comes to along an arc.

    The chord of the arc: its length, and the heading turned by slip and half of the turn, whose sine and cosine are
    taken to the fifth order: it is below 0.5 rad.
    """
    slip = _HALF * bend
    half = _HALF * curvature * way
    square = half * half
    chord = way * (_ONE - square * _SIXTH) / math.sqrt(_ONE + slip * slip)
    sin_half = half * (_ONE - square * _SIXTH * (_ONE - square * _20TH))
    cos_half = _ONE - square * _HALF * (_ONE - square * _12TH)
    return chord * (cos_half - slip * sin_half), chord * (slip * cos_half + sin_half)


@part
def steer_for(curvature: float, wheelbase: float) -> float:
    """The steering angle under which the middle drives a circle of that curvature: `curved`'s formula solved for it."""
    k = curvature * wheelbase
    steer: float = angle_of(k, math.sqrt(max(_ONE - _QUARTER * k * k, _LEAST)))
    return steer

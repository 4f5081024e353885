"""Sines, tangents and angles of float32 out of sums, products and choices, so that eight go through one instruction.

The polynomials are those of Moshier's Cephes library (`sinf`, `tanf`, `atanf`, netlib.org/cephes).
"""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Real, Whole, part, single

_ZERO, _HALF, _ONE, _LEAST = single(0.0), single(0.5), single(1.0), single(1e-30)
_PER_QUARTER, _QUARTER = single(2 / np.pi), np.pi / 2
_PI, _HALF_PI, _QUARTER_PI, _TAN_8TH = single(np.pi), single(np.pi / 2), single(np.pi / 4), single(np.sqrt(2) - 1)
_S1, _S2, _S3 = single(-1.6666654611e-1), single(8.3321608736e-3), single(-1.9515295891e-4)
_C1, _C2, _C3 = single(4.166664568298827e-2), single(-1.388731625493765e-3), single(2.443315711809948e-5)
_T1, _T2, _T3 = single(3.33331568548e-1), single(1.33387994085e-1), single(5.34112807005e-2)
_T4, _T5, _T6 = single(2.44301354525e-2), single(3.11992232697e-3), single(9.38540185543e-3)
_A1, _A2, _A3, _A4 = (
    single(-3.33329491539e-1),
    single(1.99777106478e-1),
    single(-1.38776856032e-1),
    single(8.05374449538e-2),
)
_1: Whole = np.int32(1)
_2: Whole = np.int32(2)


@part
def cosine_sine(x: Real) -> tuple[Real, Real]:
    """Cosine and sine of an angle [rad] to 2e-7, for angles below 1e6."""
    turns = np.floor(x * _PER_QUARTER + _HALF)
    quarter = np.int32(turns)
    # In float64: the difference of two large numbers.
    r = np.float32(np.float64(x) - np.float64(turns) * _QUARTER)
    z = r * r
    sine = r + r * z * (_S1 + z * (_S2 + z * _S3))
    cosine = _ONE - _HALF * z + z * z * (_C1 + z * (_C2 + z * _C3))
    odd = np.int32(quarter & _1) != 0
    up, along = cosine if odd else sine, sine if odd else cosine
    left, down = np.int32(np.int32(quarter + _1) & _2) != 0, np.int32(quarter & _2) != 0
    return -along if left else along, -up if down else up


@part
def tangent(x: Real) -> Real:
    """Tangent of an angle [rad] between -1.5 and 1.5, to 4e-7 of it."""
    size = abs(x)
    far = size > _QUARTER_PI
    r = _HALF_PI - size if far else size
    z = r * r
    t = r + r * z * (_T1 + z * (_T2 + z * (_T3 + z * (_T4 + z * (_T5 + z * _T6)))))
    t = _ONE / t if far else t
    return -t if x < _ZERO else t


@part
def angle_of(y: Real, x: Real) -> Real:
    """The angle [rad] from the x axis to the point (x, y), in -pi to pi, to 4e-7; 0 for (0, 0)."""
    a, b = abs(y), abs(x)
    low, high = min(a, b), max(a, b)
    steep = low > _TAN_8TH * high
    t = (low - high if steep else low) / max(low + high if steep else high, _LEAST)
    z = t * t
    turn = t + t * z * (_A1 + z * (_A2 + z * (_A3 + z * _A4)))
    turn = turn + _QUARTER_PI if steep else turn
    turn = _HALF_PI - turn if a > b else turn
    turn = _PI - turn if x < _ZERO else turn
    return -turn if y < _ZERO else turn

"""A road's reference line: pose and curvature at an arc length, for each kind of geometry of a plan view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from stalwart.core.errors import DataError, InputError
from stalwart.drive.geometry.curves import CentreLine, Piece, Pose
from stalwart.drive.opendrive.records import Doubles, Geometry

_STEPS = 400
"""Into which a polynomial is cut to measure its length."""


@dataclass(frozen=True)
class _Curve:
    """u(p), v(p): two cubics, by arc length; x and y are the geometry's start, u lies along its heading."""

    geometry: Geometry

    @cached_property
    def _table(self) -> tuple[Doubles, Doubles]:
        """Parameters, and arc lengths at them."""
        g = self.geometry
        last = 1.0 if g.normalized else g.length_m
        p = np.linspace(0, last, _STEPS + 1)
        middle = np.stack([p[:-1], (p[:-1] + p[1:]) / 2, p[1:]])
        speed = np.hypot(*self._derivatives(middle)[:2])
        steps = (speed[0] + 4 * speed[1] + speed[2]) / 6 * np.diff(p)  # Simpson's rule
        return p, np.concatenate([[0.0], np.cumsum(steps)])

    def _derivatives(self, p: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        _, b, c, d, _, f, g, h = self.geometry.values
        return b + p * (2 * c + 3 * d * p), f + p * (2 * g + 3 * h * p), 2 * c + 6 * d * p, 2 * g + 6 * h * p

    def at(self, along_m: Doubles) -> Doubles:
        """(n, 4) in the geometry's frame."""
        p, lengths = self._table
        # A paramPoly3 whose own length is not the one that the file gives is walked in proportion; the parameter of a
        # poly3 is a coordinate, and its curve is cut where the length is reached.
        scale = lengths[-1] / self.geometry.length_m if self.geometry.kind == "paramPoly3" else 1.0
        t = np.interp(along_m * scale, lengths, p)
        a, b, c, d, e, f, g, h = self.geometry.values
        du, dv, ddu, ddv = self._derivatives(t)
        u, v = a + t * (b + t * (c + t * d)), e + t * (f + t * (g + t * h))
        return np.stack([u, v, np.arctan2(dv, du), (du * ddv - dv * ddu) / np.hypot(du, dv) ** 3], 1)


@dataclass(frozen=True)
class ReferenceLine:
    """All geometries of a road, one after another.

    Raises:
        DataError: a bend or a polynomial that is none, by the geometry's place in the file.
    """

    line: tuple[Geometry, ...]

    def __post_init__(self) -> None:
        for geometry, shape in zip(self.line, self._shapes, strict=True):
            if isinstance(shape, _Curve):
                lengths = shape._table[1]
                if not (np.isfinite(lengths).all() and 0 < lengths[-1] < 1e5 and (np.diff(lengths) > 0).all()):
                    raise DataError(f"{geometry.where}: expected a {geometry.kind} of some length that never stands "
                                    f"still. Got {geometry.values}.")  # fmt: skip

    @cached_property
    def _shapes(self) -> list[CentreLine | _Curve]:
        return [_Curve(g) if "oly3" in g.kind else _clothoid(g) for g in self.line]

    @cached_property
    def starts(self) -> Doubles:
        return np.array([g.start_m for g in self.line])

    def at(self, s_m: ArrayLike) -> Doubles:
        """(n, 4): x, y, yaw and curvature of the reference line at (n,) places."""
        s = np.atleast_1d(np.asarray(s_m, np.float64))
        index = np.clip(np.searchsorted(self.starts, s + 1e-9, side="right") - 1, 0, len(self.line) - 1)
        out = np.empty((len(s), 4))
        for k in np.unique(index):
            g, shape, here = self.line[k], self._shapes[k], index == k
            along = np.clip(s[here] - g.start_m, 0.0, g.length_m)
            if isinstance(shape, CentreLine):
                out[here] = shape.poses(along)
                continue
            local, c, sn = shape.at(along), math.cos(g.yaw_rad), math.sin(g.yaw_rad)
            out[here, 0] = g.x_m + c * local[:, 0] - sn * local[:, 1]
            out[here, 1] = g.y_m + sn * local[:, 0] + c * local[:, 1]
            out[here, 2], out[here, 3] = g.yaw_rad + local[:, 2], local[:, 3]
        return out

    def knots(self, start_m: float, end_m: float, step_m: float) -> Doubles:
        """Places between which one clothoid fits: the ends of geometries, and so often where they bend."""
        cuts = [start_m]
        for g in self.line:
            low, high = max(g.start_m, start_m), min(g.start_m + g.length_m, end_m)
            if high - low > 1e-6:
                parts = 1 if g.kind == "line" else max(math.ceil((high - low) / step_m), 1)
                cuts += list(np.linspace(low, high, parts + 1)[1:])
        cuts[-1] = end_m
        return np.array(cuts)


def _clothoid(g: Geometry) -> CentreLine:
    first, last = {"line": (0.0, 0.0), "arc": g.values * 2, "spiral": g.values}[g.kind][:2]
    try:
        return CentreLine(Pose(g.x_m, g.y_m, g.yaw_rad), (Piece(g.length_m, first, last),))
    except InputError:
        raise DataError(f"{g.where}: expected a turn of at most twice around. Got curvatures {first:g} and "
                        f"{last:g} 1/m over {g.length_m:g} m.") from None  # fmt: skip

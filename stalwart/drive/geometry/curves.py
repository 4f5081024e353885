"""Centre lines made of lines, arcs and clothoids: pose at an arc length, projection of a point, offset, fitting.

All three are one thing, a piece whose curvature changes linearly with arc length: a line has none, an arc a constant
one. Float64 throughout; x and y span the ground and angles turn from x to y.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stalwart.core.errors import InputError

Doubles = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on [0, 1]
_MOST_TURN_RAD = 4 * math.pi
"""Within this turning the quadrature is exact to float64 (see the tests against the Fresnel integrals)."""


@dataclass(frozen=True)
class Pose:
    """A place and a heading on the ground."""

    x_m: float
    y_m: float
    yaw_rad: float

    def ahead(self, forward_m: float, left_m: float = 0.0, turn_rad: float = 0.0) -> Pose:
        """The pose so far ahead, to the left, and turned by so much."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return Pose(
            self.x_m + c * forward_m - s * left_m, self.y_m + s * forward_m + c * left_m, self.yaw_rad + turn_rad
        )

    def reversed(self) -> Pose:
        return Pose(self.x_m, self.y_m, self.yaw_rad + math.pi)


@dataclass(frozen=True)
class Piece:
    """Curvature goes linearly from `start_curvature` to `end_curvature` (1/m, left is positive) over `length_m`.

    Raises:
        InputError: no length, or a turning of more than 4π.
    """

    length_m: float
    start_curvature: float = 0.0
    end_curvature: float = 0.0

    def __post_init__(self) -> None:
        if not (self.length_m > 0 and math.isfinite(self.length_m)):
            raise InputError(f"Piece.length_m must be above 0 and finite. Got {self.length_m!r}.")
        if self.length_m * max(abs(self.start_curvature), abs(self.end_curvature)) > _MOST_TURN_RAD:
            raise InputError(f"Piece: length × curvature must be at most 4π. Got {self!r}.")

    @property
    def sharpness(self) -> float:
        """Change of curvature per metre."""
        return (self.end_curvature - self.start_curvature) / self.length_m

    @property
    def turn_rad(self) -> float:
        return self.length_m * (self.start_curvature + self.end_curvature) / 2

    def local(self, s_m: Doubles) -> Doubles:
        """(n, 3): x, y and yaw at arc lengths (n,), from the origin heading along x. ∫cos, ∫sin of the heading."""
        t = s_m[:, None] * _NODES  # (n, nodes)
        angle = t * (self.start_curvature + t * (self.sharpness / 2))
        x = s_m * (np.cos(angle) @ _WEIGHTS)
        y = s_m * (np.sin(angle) @ _WEIGHTS)
        return np.stack([x, y, s_m * (self.start_curvature + s_m * (self.sharpness / 2))], axis=1)

    def reversed(self) -> Piece:
        return Piece(self.length_m, -self.end_curvature, -self.start_curvature)


def line(length_m: float) -> Piece:
    return Piece(length_m)


def arc(radius_m: float, turn_rad: float) -> Piece:
    """A piece of a circle; a positive turn goes to the left."""
    curvature = math.copysign(1 / radius_m, turn_rad)
    return Piece(abs(turn_rad) * radius_m, curvature, curvature)


@dataclass(frozen=True)
class CentreLine:
    """Pieces one after the other from a starting pose; heading is continuous.

    Raises:
        InputError: no pieces.
    """

    start: Pose
    pieces: tuple[Piece, ...]

    def __post_init__(self) -> None:
        if not self.pieces:
            raise InputError("CentreLine.pieces must hold at least one piece. Got none.")

    @cached_property
    def length_m(self) -> float:
        return math.fsum(piece.length_m for piece in self.pieces)

    @cached_property
    def _starts(self) -> tuple[Doubles, Doubles]:
        """Arc length at which each piece starts (n,), and the pose there (n + 1, 3)."""
        poses = [np.array([self.start.x_m, self.start.y_m, self.start.yaw_rad])]
        lengths = [0.0]
        for piece in self.pieces:
            poses.append(_place(poses[-1], piece.local(np.array([piece.length_m])))[0])
            lengths.append(lengths[-1] + piece.length_m)
        return np.array(lengths[:-1]), np.array(poses)

    @property
    def end(self) -> Pose:
        return Pose(*map(float, self._starts[1][-1]))

    def poses(self, s_m: ArrayLike) -> Doubles:
        """(n, 4): x, y, yaw and curvature at arc lengths (n,); beyond the ends it goes straight on."""
        s = np.atleast_1d(np.asarray(s_m, np.float64))
        inside = np.clip(s, 0.0, self.length_m)
        starts, poses = self._starts
        index = np.clip(np.searchsorted(starts, inside, side="right") - 1, 0, len(self.pieces) - 1)
        out = np.empty((len(s), 4))
        for i, piece in enumerate(self.pieces):
            at = index == i
            if at.any():
                u = np.minimum(inside[at] - starts[i], piece.length_m)
                out[at, :3] = _place(poses[i], piece.local(u))
                out[at, 3] = piece.start_curvature + piece.sharpness * u
        beyond = s - inside
        out[:, 0] += beyond * np.cos(out[:, 2])
        out[:, 1] += beyond * np.sin(out[:, 2])
        out[beyond != 0, 3] = 0.0
        return out

    def pose(self, s_m: float) -> Pose:
        x, y, yaw, _ = map(float, self.poses(s_m)[0])
        return Pose(x, y, yaw)

    def project(self, x_m: float, y_m: float) -> tuple[float, float]:
        """(s, d): arc length of the nearest point of the line, and the distance to it, positive on its left.

        Searched at samples a metre apart, then by Newton's method on (p − c(s)) · t(s) = 0.
        """
        grid = np.linspace(0.0, self.length_m, max(int(self.length_m) + 2, 8))
        at = self.poses(grid)
        nearest = int(np.argmin((at[:, 0] - x_m) ** 2 + (at[:, 1] - y_m) ** 2))
        low, high = grid[max(nearest - 1, 0)], grid[min(nearest + 1, len(grid) - 1)]
        s = float(grid[nearest])
        for _ in range(20):
            px, py, yaw, curvature = map(float, self.poses(s)[0])
            along = (x_m - px) * math.cos(yaw) + (y_m - py) * math.sin(yaw)
            left = (y_m - py) * math.cos(yaw) - (x_m - px) * math.sin(yaw)
            step = along / max(1.0 - curvature * left, 0.1)
            moved = min(max(s + step, low), high)
            if abs(moved - s) < 1e-12:
                break
            s = moved
        px, py, yaw, _ = map(float, self.poses(s)[0])
        side = (y_m - py) * math.cos(yaw) - (x_m - px) * math.sin(yaw)
        return s, math.copysign(math.hypot(x_m - px, y_m - py), side)

    def reversed(self) -> CentreLine:
        return CentreLine(self.end.reversed(), tuple(piece.reversed() for piece in reversed(self.pieces)))

    def section(self, start_m: float, end_m: float) -> CentreLine:
        """The part between two arc lengths."""
        starts, _ = self._starts
        pieces = []
        for begin, piece in zip(starts, self.pieces, strict=True):
            low, high = max(start_m - begin, 0.0), min(end_m - begin, piece.length_m)
            if high - low > 1e-9:
                k = piece.start_curvature
                pieces.append(Piece(high - low, k + piece.sharpness * low, k + piece.sharpness * high))
        return CentreLine(self.pose(start_m), tuple(pieces))

    def offset(self, left_m: float, start_m: float = 0.0, end_m: float = 0.0) -> CentreLine:
        """The parallel at `left_m` to the left (negative: to the right), passing from `start_m` to `end_m` on top of
        that where a lane swings out or in.

        Of lines and arcs it is exact where it stays parallel; elsewhere clothoids are fitted to it every 8 m or so.

        Raises:
            InputError: the parallel would fold over itself.
        """
        sharpest = max(max(left_m * k for k in (p.start_curvature, p.end_curvature)) for p in self.pieces)
        if sharpest >= 1.0:
            raise InputError(
                f"CentreLine.offset: {left_m} m to the left folds over a bend of radius {left_m / sharpest} m."
            )
        parallel = start_m == 0.0 and end_m == 0.0
        starts, _ = self._starts
        pieces: list[Piece] = []
        for begin, piece in zip(starts, self.pieces, strict=True):
            if parallel and piece.start_curvature == piece.end_curvature:
                k = piece.start_curvature
                pieces.append(Piece(piece.length_m * (1 - k * left_m), k / (1 - k * left_m), k / (1 - k * left_m)))
                continue
            knots = np.linspace(begin, begin + piece.length_m, max(math.ceil(piece.length_m / 8), 1) + 1)
            poses = [self._beside(float(s), left_m, start_m, end_m) for s in knots]
            pieces += [fit(a, b) for a, b in itertools.pairwise(poses)]
        return CentreLine(self._beside(0.0, left_m, start_m, end_m), tuple(pieces))

    def _beside(self, s_m: float, left_m: float, start_m: float, end_m: float) -> Pose:
        share = s_m / self.length_m
        swing = share * share * (3 - 2 * share)  # smoothstep: leaves and arrives parallel
        slope = 6 * share * (1 - share) / self.length_m * (end_m - start_m)
        away = left_m + start_m + (end_m - start_m) * swing
        _, _, _, curvature = map(float, self.poses(s_m)[0])
        return self.pose(s_m).ahead(0.0, away, math.atan2(slope, 1 - curvature * away))


def _place(pose: Doubles, local: Doubles) -> Doubles:
    c, s = math.cos(pose[2]), math.sin(pose[2])
    x = pose[0] + c * local[:, 0] - s * local[:, 1]
    y = pose[1] + s * local[:, 0] + c * local[:, 1]
    return np.stack([x, y, pose[2] + local[:, 2]], axis=1)


def wrap(angle_rad: float) -> float:
    """The angle in (−π, π]."""
    wrapped = math.remainder(angle_rad, 2 * math.pi)
    return math.pi if wrapped == -math.pi else wrapped


def fit(start: Pose, end: Pose) -> Piece:
    """The one clothoid that leaves `start` and arrives at `end`, heading as they do.

    Bertolazzi and Frego, "G1 fitting with clothoids" (Mathematical Methods in the Applied Sciences 2015): with angles
    φ0, φ1 of the headings from the chord and δ = φ1 − φ0, the root A of ∫₀¹ sin(A t² + (δ − A) t + φ0) dt, found by
    Newton's method from 3 (φ0 + φ1), gives curvatures (δ − A) / L and (δ + A) / L.

    Raises:
        InputError: the poses coincide, or no such clothoid is found (headings that point away from each other).
    """
    dx, dy = end.x_m - start.x_m, end.y_m - start.y_m
    chord, direction = math.hypot(dx, dy), math.atan2(dy, dx)
    if chord < 1e-9:
        raise InputError(f"fit: the two poses must be apart. Got {start} and {end}.")
    first, last = wrap(start.yaw_rad - direction), wrap(end.yaw_rad - direction)
    turn = last - first
    a = 3 * (first + last)
    for _ in range(40):
        angle = a * _NODES * (_NODES - 1) + turn * _NODES + first
        sine = float(np.sin(angle) @ _WEIGHTS)
        slope = float((np.cos(angle) * _NODES * (_NODES - 1)) @ _WEIGHTS)
        if abs(sine) < 1e-14 or slope == 0.0:
            break
        a -= sine / slope
    angle = a * _NODES * (_NODES - 1) + turn * _NODES + first
    reach = float(np.cos(angle) @ _WEIGHTS)
    if abs(float(np.sin(angle) @ _WEIGHTS)) > 1e-9 or reach <= 1e-3:
        raise InputError(f"fit: no clothoid leads from {start} to {end}.")
    length = chord / reach
    return Piece(length, (turn - a) / length, (turn + a) / length)


def joined(parts: Iterable[CentreLine]) -> CentreLine:
    """One centre line of several that follow each other.

    Raises:
        InputError: a part starts elsewhere than the one before it ends, by a centimetre or 0.01 rad.
    """
    lines = list(parts)
    for before, after in itertools.pairwise(lines):
        a, b = before.end, after.start
        if math.hypot(a.x_m - b.x_m, a.y_m - b.y_m) > 0.01 or abs(wrap(a.yaw_rad - b.yaw_rad)) > 0.01:
            raise InputError(f"joined: a part ends at {a} and the next starts at {b}.")
    return CentreLine(lines[0].start, tuple(piece for part in lines for piece in part.pieces))

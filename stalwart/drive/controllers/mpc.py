"""Model-predictive control on the kinematic bicycle: whole batches at once, by a few Gauss-Newton steps.

Each step linearises the bicycle about the last course and solves the linear quadratic problem that is left exactly, by
Riccati's recursion backwards in time; so on a straight path at a constant speed the first step already gives what an
LQR of the same horizon gives. Mayne, Rawlings, Rao and Scokaert, "Constrained model predictive control: stability and
optimality" (Automatica 2000) is the frame; this way to solve it is Li and Todorov's, "Iterative linear quadratic
regulator design for nonlinear biological movement systems" (ICINCO 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError

Doubles = NDArray[np.float64]
_STATES, _CONTROLS = 4, 2


@dataclass(frozen=True)
class MPC:
    """How far ahead to plan, and what to pay for. Weights are those of squares, summed over the steps."""

    wheelbase_m: float = 2.75
    dt_s: float = 0.1
    steps: int = 20
    """Horizon."""
    place: float = 1.0
    """On metres along and across the path."""
    heading: float = 2.0
    """On radians."""
    speed: float = 0.5
    """On metres per second."""
    accel: float = 0.2
    """On m/s²."""
    steer: float = 20.0
    """On radians away from the angle that the reference's own curvature takes."""
    iterations: int = 3
    """Gauss-Newton steps."""
    most_accel_mps2: float = 3.0
    most_brake_mps2: float = 9.0
    most_steer_rad: float = 0.6

    def __post_init__(self) -> None:
        for name in ("wheelbase_m", "dt_s", "steps", "accel", "steer", "iterations"):
            if not getattr(self, name) > 0:
                raise InputError(f"MPC.{name} must be above 0. Got {getattr(self, name)!r}.")

    def __call__(self, state: NDArray[np.floating], reference: NDArray[np.floating]) -> Doubles:
        """(B, 2) acceleration [m/s²] and steering angle [rad] to apply now; see `plan`."""
        return self.plan(state, reference)[1][:, 0]

    def plan(self, state: NDArray[np.floating], reference: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
        """The course (B, steps + 1, 4) and its controls (B, steps, 2).

        Args:
            state: (B, 4) x, y [m], heading [rad] and speed [m/s] of the middle of the car.
            reference: (B, steps + 1, 4) where to be at each step, likewise; the first is now. Headings may wind on.

        Raises:
            InputError: another shape, or a value that is not finite.
        """
        now, target = np.asarray(state, np.float64), np.asarray(reference, np.float64)
        wanted = (len(now), self.steps + 1, _STATES)
        if now.ndim != 2 or now.shape[1] != _STATES or target.shape != wanted:
            raise InputError(f"MPC: expected a state (B, 4) and a reference {wanted}. Got {now.shape}, {target.shape}.")
        if not (np.isfinite(now).all() and np.isfinite(target).all()):
            raise InputError("MPC: state and reference must be finite.")
        now = now.copy()
        # The heading nearest to the reference's: a car that has gone round a circle is no turn behind.
        now[:, 2] += 2 * np.pi * np.round((target[:, 0, 2] - now[:, 2]) / (2 * np.pi))
        rest = self._rest(target)
        controls = rest.copy()
        course = self._roll(now, controls)
        for _ in range(self.iterations):
            course, controls = self._improve(course, controls, target, rest)
        return course, controls

    def _rest(self, target: Doubles) -> Doubles:
        """(B, T, 2) controls that cost nothing: none, and the steering angle of the reference's own curvature."""
        way = np.hypot(*np.moveaxis(np.diff(target[..., :2], axis=1), -1, 0))
        sine = np.diff(target[..., 2], axis=1) * self.wheelbase_m / 2 / np.maximum(way, 1e-3)
        slip = np.arcsin(np.clip(sine, -0.5, 0.5))  # the middle turns at 2 sin β / wheelbase
        return np.stack([np.zeros_like(slip), np.arctan(2 * np.tan(slip))], -1)

    def _next(self, x: Doubles, u: Doubles) -> Doubles:
        """The kinematic bicycle about its middle, a step on; Kong et al. (IV 2015), equation 1."""
        slip = np.arctan(0.5 * np.tan(u[..., 1]))
        rate = 2 * x[..., 3] * np.sin(slip) / self.wheelbase_m
        # The chord of a step: the course half a turn on.
        course = x[..., 2] + slip + rate * self.dt_s / 2
        way = (x[..., 3] + u[..., 0] * self.dt_s / 2) * self.dt_s
        return np.stack(
            [x[..., 0] + way * np.cos(course), x[..., 1] + way * np.sin(course), x[..., 2] + rate * self.dt_s,
             x[..., 3] + u[..., 0] * self.dt_s], -1,
        )  # fmt: skip

    def _roll(self, now: Doubles, controls: Doubles) -> Doubles:
        course = [now]
        for k in range(self.steps):
            course.append(self._next(course[-1], controls[:, k]))
        return np.stack(course, 1)

    def _slopes(self, x: Doubles, u: Doubles) -> tuple[Doubles, Doubles]:
        """(…, 4, 4) and (…, 4, 2): how the next state hangs on state and controls."""
        dt, base = self.dt_s, self.wheelbase_m
        tangent = np.tan(u[..., 1])
        slip = np.arctan(0.5 * tangent)
        d_slip = 0.5 * (1 + tangent**2) / (1 + 0.25 * tangent**2)
        rate = 2 * x[..., 3] * np.sin(slip) / base
        course = x[..., 2] + slip + rate * dt / 2
        way = (x[..., 3] + u[..., 0] * dt / 2) * dt
        c, s = np.cos(course), np.sin(course)
        by_speed = np.sin(slip) / base * dt  # of the course
        by_steer = d_slip * (1 + x[..., 3] * np.cos(slip) / base * dt)
        a = np.zeros((*x.shape, _STATES))
        a[..., range(4), range(4)] = 1.0
        a[..., 0, 2], a[..., 1, 2] = -way * s, way * c
        a[..., 0, 3], a[..., 1, 3] = dt * c - way * s * by_speed, dt * s + way * c * by_speed
        a[..., 2, 3] = 2 * by_speed
        b = np.zeros((*x.shape, _CONTROLS))
        b[..., 0, 0], b[..., 1, 0], b[..., 3, 0] = dt * dt / 2 * c, dt * dt / 2 * s, dt
        b[..., 0, 1], b[..., 1, 1] = -way * s * by_steer, way * c * by_steer
        b[..., 2, 1] = 2 * x[..., 3] * np.cos(slip) / base * dt * d_slip
        return a, b

    def _improve(self, course: Doubles, controls: Doubles, target: Doubles, rest: Doubles) -> tuple[Doubles, Doubles]:
        """One Gauss-Newton step: the linear quadratic problem about a course, solved and rolled out within limits."""
        q = np.diag([self.place, self.place, self.heading, self.speed])
        r = np.diag([self.accel, self.steer])
        a, b = self._slopes(course[:, :-1], controls)
        value, slope = np.broadcast_to(q, (len(course), 4, 4)), (course[:, -1] - target[:, -1]) @ q
        gains, steps = [], []
        for k in range(self.steps - 1, -1, -1):
            bt, at = np.swapaxes(b[:, k], -1, -2), np.swapaxes(a[:, k], -1, -2)
            bv = bt @ value
            h = r + bv @ b[:, k]
            g = (controls[:, k] - rest[:, k]) @ r + (bt @ slope[..., None])[..., 0]
            gain = np.linalg.solve(h, bv @ a[:, k])
            step = np.linalg.solve(h, g[..., None])[..., 0]
            slope = (
                (course[:, k] - target[:, k]) @ q
                + (at @ slope[..., None])[..., 0]
                - (np.swapaxes(gain, -1, -2) @ g[..., None])[..., 0]
            )
            value = q + at @ value @ (a[:, k] - b[:, k] @ gain)
            gains.append(gain)
            steps.append(step)
        x, new, states = course[:, 0], [], [course[:, 0]]
        low, high = [-self.most_brake_mps2, -self.most_steer_rad], [self.most_accel_mps2, self.most_steer_rad]
        for k in range(self.steps):
            change = steps[-1 - k] + (gains[-1 - k] @ (x - course[:, k])[..., None])[..., 0]
            u = np.clip(controls[:, k] - change, low, high)
            x = self._next(x, u)
            new.append(u)
            states.append(x)
        return np.stack(states, 1), np.stack(new, 1)

"""The MPC against the discrete LQR on a straight line, on a circle under the worlds' own bicycle, and its slopes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import moved

from stalwart.core.errors import InputError
from stalwart.drive.controllers.mpc import MPC


def straight(speed: float, steps: int) -> np.ndarray:
    x = speed * 0.1 * np.arange(steps + 1)
    return np.stack([x, 0 * x, 0 * x, 0 * x + speed], -1)[None]


def test_near_a_straight_line_it_is_the_lqr_of_the_same_horizon() -> None:
    """Riccati's recursion for the bicycle linearised by hand about straight driving: d, ψ | δ."""
    speed, mpc = 12.0, MPC(iterations=1)
    dt, base = mpc.dt_s, mpc.wheelbase_m
    way = speed * dt
    a = np.array([[1.0, way], [0.0, 1.0]])
    # The middle moves off at half the steering angle, and turns at v δ / L.
    b = np.array([[way * (0.5 + way / (2 * base))], [way / base]])
    q, r = np.diag([mpc.place, mpc.heading]), np.array([[mpc.steer]])
    value = q.copy()
    for _ in range(mpc.steps):
        gain = np.linalg.solve(r + b.T @ value @ b, b.T @ value @ a)
        value = q + a.T @ value @ (a - b @ gain)
    for d, heading in ((0.02, 0.0), (0.0, 0.01), (-0.03, 0.005)):
        asked = mpc(np.array([[0.0, d, heading, speed]]), straight(speed, mpc.steps))
        assert asked[0, 1] == pytest.approx(float(-(gain @ [d, heading])[0]), rel=0.02, abs=1e-5)
        assert abs(asked[0, 0]) < 0.02


def test_speed_alone_is_the_lqr_of_a_point_on_a_rail() -> None:
    speed, mpc = 10.0, MPC(iterations=1)
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
    q = np.diag([mpc.place, mpc.speed])
    value = q.copy()
    for _ in range(mpc.steps):
        gain = np.linalg.solve(mpc.accel + b.T @ value @ b, b.T @ value @ a)
        value = q + a.T @ value @ (a - b @ gain)
    asked = mpc(np.array([[-0.5, 0.0, 0.0, 9.5]]), straight(speed, mpc.steps))
    assert asked[0, 0] == pytest.approx(float(-(gain @ [-0.5, -0.5])[0]), rel=1e-6)


@pytest.mark.parametrize(("radius", "speed"), [(15.0, 5.0), (40.0, 9.0), (-25.0, 7.0)])
def test_a_circle_is_tracked_by_the_worlds_own_bicycle(radius: float, speed: float) -> None:
    mpc = MPC()
    turn = speed * 0.1 / radius
    x, y, yaw, v = radius * 0.0, 1.0, 0.3, speed - 2.0  # a metre beside it, askew and too slow
    worst, now = 0.0, 0
    for now in range(150):
        angle = turn * (now + np.arange(mpc.steps + 1))
        reference = np.stack(
            [radius * np.sin(angle), radius * (1 - np.cos(angle)), angle, np.full_like(angle, speed)], -1
        )
        # The middle of a car on a circle heads inwards by its slip.
        reference[:, 2] -= math.asin(mpc.wheelbase_m / 2 / radius)
        accel, steer = mpc(np.array([[x, y, yaw, v]]), reference[None])[0]
        x, y, yaw, v = moved(x, y, yaw, v, accel, steer, mpc.wheelbase_m, 8.0, 0.1)
        if now > 80:
            worst = max(worst, abs(math.hypot(x, y - radius) - abs(radius)))
    assert worst < 0.05
    assert v == pytest.approx(speed, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.floats(-3, 3)] * 3, st.floats(0.5, 30)), st.floats(-5, 3), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_slopes_are_those_of_finite_differences(
    state: tuple[float, float, float, float], accel: float, steer: float
) -> None:
    mpc, x, u, h = MPC(), np.array(state), np.array([accel, steer]), 1e-6
    a, b = mpc._slopes(x, u)
    for k in range(4):
        e = np.eye(4)[k] * h
        np.testing.assert_allclose(a[:, k], (mpc._next(x + e, u) - mpc._next(x - e, u)) / (2 * h), atol=1e-6)
    for k in range(2):
        e = np.eye(2)[k] * h
        np.testing.assert_allclose(b[:, k], (mpc._next(x, u + e) - mpc._next(x, u - e)) / (2 * h), atol=1e-6)


def test_steps_improve_the_cost_batches_are_their_parts_and_limits_hold() -> None:
    g = np.random.default_rng(0)
    angle = 0.03 * np.arange(21)
    reference = np.stack([30 * np.sin(angle), 30 * (1 - np.cos(angle)), angle, np.full(21, 9.0)], -1)[None].repeat(6, 0)
    state = reference[:, 0] + g.normal(0, [1.5, 1.5, 0.3, 2.0], (6, 4))

    def cost(mpc: MPC) -> np.ndarray:
        course, controls = mpc.plan(state, reference)
        away = (course - reference) ** 2 @ [mpc.place, mpc.place, mpc.heading, mpc.speed]
        spent = (controls - mpc._rest(reference)) ** 2 @ [mpc.accel, mpc.steer]
        return np.asarray(away.sum(-1) + spent.sum(-1))

    one, three = cost(MPC(iterations=1)), cost(MPC(iterations=4))
    assert (three <= one + 1e-6).all()
    assert three.sum() < one.sum()
    mpc = MPC()
    alone = np.concatenate([mpc(state[k : k + 1], reference[k : k + 1]) for k in range(6)])
    np.testing.assert_allclose(mpc(state, reference), alone, atol=1e-12)
    far = mpc(state + np.array([0, 30, 0, 20]), reference)
    assert (np.abs(far[:, 1]) <= 0.6).all()
    assert (far[:, 0] >= -9.0).all()
    turned = mpc(state + np.array([0, 0, 4 * np.pi, 0]), reference)
    np.testing.assert_allclose(turned, mpc(state, reference), atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: MPC(steps=0), "MPC.steps must be above 0. Got 0"),
        (lambda: MPC()(np.zeros((2, 3)), np.zeros((2, 21, 4))), r"Got \(2, 3\)"),
        (lambda: MPC()(np.zeros((2, 4)), np.zeros((2, 5, 4))), r"Got \(2, 4\), \(2, 5, 4\)"),
        (lambda: MPC()(np.full((1, 4), np.nan), np.zeros((1, 21, 4))), "must be finite"),
    ],
)
def test_wrong_input_is_refused_in_one_line(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)

"""Scores against numbers worked out by hand, intervals and gains against a peer's, controllers on a simulated path."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import solve_continuous_are
from scipy.stats import chi2

from stalwart.core.errors import InputError
from stalwart.drive.controllers.pid import PID
from stalwart.drive.controllers.steering import lqr, lqr_gains, pure_pursuit, stanley
from stalwart.drive.planners.rss import rss_distance
from stalwart.drive.scores.carla import Infractions, driving_score
from stalwart.drive.scores.nuplan import Drive, comfortable, score
from stalwart.drive.scores.safety import poisson_interval, time_to_collision


def test_carlas_score_is_completion_times_penalties() -> None:
    assert driving_score(1.0, Infractions()) == 1.0
    assert driving_score(0.8, Infractions(vehicles=1, red_lights=2)) == pytest.approx(0.8 * 0.6 * 0.7 * 0.7)
    everything = Infractions(1, 1, 1, 1, 1, 1, 0.25)
    assert driving_score(1.0, everything) == pytest.approx(0.5 * 0.6 * 0.65 * 0.7 * 0.8 * 0.7 * 0.75)


def test_nuplans_gates_shut_and_weights_add_up() -> None:
    good = {"at_fault_collision": False, "off_road": False, "wrong_way": False, "progress": 1.0, "least_ttc_s": 2.0,
            "speeding": 0.0, "comfortable": True}  # fmt: skip

    def of(**other: object) -> float:
        return score(Drive(**{**good, **other}))  # type: ignore[arg-type]

    assert of() == 1.0
    assert of(at_fault_collision=True) == of(off_road=True) == of(wrong_way=True) == of(progress=0.19) == 0.0
    assert of(least_ttc_s=0.94) == pytest.approx(11 / 16)
    assert of(progress=0.6, speeding=0.5, comfortable=False) == pytest.approx((5 + 3 + 2) / 16)


def test_comfort_is_told_from_a_course() -> None:
    t = np.arange(0, 10, 0.1)
    assert comfortable(10 + 0 * t, 0.05 * t, 0.1)
    assert comfortable(10 + 1.5 * t, 0 * t, 0.1)
    assert not comfortable(10 + 3.0 * t, 0 * t, 0.1)
    assert not comfortable(20 + 0 * t, 0.3 * t, 0.1)  # 6 m/s² to the side
    assert not comfortable(2 + 0 * t, 1.0 * t, 0.1)
    with pytest.raises(InputError, match=r"must last at least 1.5 s"):
        comfortable(t[:8], t[:8], 0.1)


def test_the_rss_distance_suffices_and_less_does_not() -> None:
    """The rear car accelerates for the response time, then brakes gently; the front one brakes hard."""
    for rear, front in ((20.0, 20.0), (30.0, 10.0), (12.0, 15.0)):
        gap = float(rss_distance(rear, front))
        x, v, y, w, dt, least = 0.0, rear, gap, front, 1e-3, math.inf
        for k in range(40000):
            v = max(v + dt * (2.0 if k * dt < 0.5 else -4.0), 0.0)
            w = max(w - dt * 8.0, 0.0)
            x, y = x + v * dt, y + w * dt
            least = min(least, y - x)
        assert least == pytest.approx(0.0, abs=0.06)
    assert rss_distance(5.0, 40.0) == 0.0


def test_times_to_collision() -> None:
    said = time_to_collision(np.array([10.0, 10.0, -1.0]), np.array([12.0, 10.0, 5.0]), np.array([10.0, 12.0, 0.0]))
    np.testing.assert_allclose(said, [5.0, np.inf, 0.0])


@pytest.mark.parametrize("count", [0, 1, 7, 120])
def test_poisson_intervals_are_garwoods(count: int) -> None:
    low, high = poisson_interval(count, 2.5)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 5 if count else 0.0)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 5)


@pytest.mark.parametrize(("q1", "q2"), [(0.005, 0.1), (1.0, 0.0), (0.2, 3.0)])
def test_the_regulators_gains_solve_the_riccati_equation(q1: float, q2: float) -> None:
    a, b = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [1.0]])
    p = solve_continuous_are(a, b, np.diag([q1, q2]), np.eye(1))
    assert lqr_gains(q1, q2) == pytest.approx((b.T @ p)[0].tolist())


@pytest.mark.parametrize("name", ["pursuit", "stanley", "lqr"])
def test_controllers_come_back_to_a_straight_path_and_stay(name: str) -> None:
    d, heading, speed, base = np.array([2.0, -1.5]), np.array([0.0, 0.3]), np.array([8.0, 15.0]), 2.75
    for _ in range(800):
        if name == "pursuit":
            ahead = 0.9 * speed
            x, y = ahead * np.cos(heading) - d * np.sin(heading), -ahead * np.sin(heading) - d * np.cos(heading)
            steer = pure_pursuit(x, y, base)
        elif name == "stanley":
            steer = stanley(d, heading, speed)
        else:
            steer = lqr(d, heading, np.zeros(2), base)
        steer = np.clip(steer, -0.6, 0.6)
        heading = heading + 0.02 * speed * np.tan(steer) / base
        d = d + 0.02 * speed * np.sin(heading)
    assert np.abs(d).max() < 0.05
    assert np.abs(heading).max() < 0.02


def test_pid_holds_a_speed_against_drag_and_does_not_wind_up() -> None:
    control, speed = PID(2, 1.0, 0.3, 0.05), np.array([0.0, 30.0])
    most = speed.copy()
    for _ in range(1200):
        speed = speed + 0.05 * (control(12.0 - speed, 0.05) - 0.05 * speed)
        most = np.maximum(most, speed)
    np.testing.assert_allclose(speed, 12.0, atol=0.05)
    assert most[0] < 13.5
    control.reset(np.array([True, False]))
    assert control(np.zeros(2), 0.05)[0] == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: driving_score(1.2, Infractions()), r"completion must lie in \[0, 1\]"),
        (lambda: driving_score(1.0, Infractions(vehicles=-1)), "at least 0"),
        (lambda: score(Drive(False, False, False, 2.0, 1.0, 0.0, True)), "Drive.progress"),
        (lambda: poisson_interval(-1, 1.0), "count must be"),
        (lambda: poisson_interval(1, 0.0), "exposure must be above 0"),
    ],
)
def test_wrong_scores_are_refused(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()  # type: ignore[operator]

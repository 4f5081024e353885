"""Bodies against closed forms, boxes against brute force, tables against the exact lines, chance against its twin."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import moved

from stalwart.core import catalog
from stalwart.drive.chance import mixed, uniform, world_keys
from stalwart.drive.geometry.tables import STEP_M, pose_at, project, tables_of
from stalwart.drive.scene import Class
from stalwart.drive.traffic.around import NOTES, note
from stalwart.drive.traffic.motion import move_all
from stalwart.drive.world import angles
from stalwart.drive.world.bicycle import asked_accel, asked_steer, steer_for
from stalwart.drive.world.bodies import BODIES
from stalwart.drive.world.contact import FRONT, HIT_STANDING, REAR, SIDE, STANDING, at_fault, contact, overlap
from stalwart.drive.world.state import State, empty_state

F = np.float32
CAR = BODIES[Class.CAR]


def test_sines_tangents_and_angles_are_those_of_float64() -> None:
    cosine_sine, tangent, angle_of = (
        getattr(k, "py_func", k) for k in (angles.cosine_sine, angles.tangent, angles.angle_of)
    )
    for x in np.linspace(-60, 60, 501, dtype=F):
        assert cosine_sine(x) == (pytest.approx(math.cos(x), abs=2e-7), pytest.approx(math.sin(x), abs=2e-7))
        for length in (F(1e-3), F(1), F(300)):
            point = length * F(math.sin(x)), length * F(math.cos(x))
            assert angle_of(*point) == pytest.approx(math.atan2(*point), abs=5e-7)
    for x in np.linspace(-1.45, 1.45, 301, dtype=F):
        assert tangent(x) == pytest.approx(math.tan(x), rel=5e-7)
    assert angle_of(F(0), F(0)) == 0
    assert angle_of(F(0), F(-2)) == F(math.pi)


@pytest.mark.parametrize("steer", [0.05, -0.2, 0.5])
def test_a_fixed_wheel_drives_a_circle_of_the_radius_that_geometry_says(steer: float) -> None:
    """The middle's radius is √((L / tan δ)² + (L / 2)²) for a rear axle's radius of L / tan δ."""
    radius = math.hypot(CAR.wheelbase_m / math.tan(steer), CAR.wheelbase_m / 2)
    x, y, yaw, speed = 0.0, 0.0, 0.0, 4.0
    slip = math.atan(0.5 * math.tan(steer))
    side = math.copysign(1, steer)
    middle = -side * radius * math.sin(slip), side * radius * math.cos(slip)
    for _ in range(400):
        x, y, yaw, speed = moved(x, y, yaw, speed, 0, steer, CAR.wheelbase_m, 50, 0.1)
        assert math.hypot(x - middle[0], y - middle[1]) == pytest.approx(radius, rel=2e-4)
    assert yaw == pytest.approx(side * 4 * 0.1 * 400 / radius, rel=1e-4)


@given(st.floats(1, 40), st.floats(0.5, 9), st.sampled_from([0.02, 0.1, 0.3]))
@settings(deadline=None)
def test_it_stops_after_v_squared_over_2b_at_any_tick(speed: float, brake: float, dt: float) -> None:
    x, y, yaw, v = 0.0, 0.0, 0.0, speed
    while v > 0:
        x, y, yaw, v = moved(x, y, yaw, v, -brake, 0, 2.75, 50, dt)
    assert x == pytest.approx(speed**2 / (2 * brake), rel=1e-3, abs=1e-3)
    assert y == 0


@given(st.floats(5, 40), st.floats(0.1, 0.6), st.floats(-5, 3), st.floats(2, 9))
@settings(deadline=None)
def test_it_never_leaves_the_friction_circle(speed: float, steer: float, accel: float, grip: float) -> None:
    a = asked_accel(F(accel), F(accel), F(9), F(9), F(100), F(grip), F(0.05))
    _, _, yaw, later = moved(0, 0, 0, speed, a, steer, 2.75, grip, 0.05)
    way = (speed + later) / 2 * 0.05
    aside = speed**2 * yaw / way
    assert math.hypot(aside, a) <= grip * 1.001
    radius = math.hypot(2.75 / math.tan(steer), 2.75 / 2)
    free = speed**2 / radius
    if math.hypot(free, a) > grip:  # then it drives the widest arc: on the circle
        assert math.hypot(aside, a) == pytest.approx(grip, rel=1e-3)
    else:
        assert aside == pytest.approx(free, rel=1e-3)


def test_jerk_and_steering_rate_are_limited() -> None:
    assert asked_accel(F(0), F(-9), F(3), F(9), F(20), F(8), F(0.1)) == pytest.approx(-2)
    assert asked_accel(F(-8), F(-20), F(3), F(9), F(20), F(9), F(0.1)) == pytest.approx(-9)
    assert asked_accel(F(-2), F(-9), F(3), F(9), F(200), F(3), F(0.1)) == pytest.approx(-3)
    assert asked_steer(F(0), F(1), F(0.6), F(0.9), F(0.1)) == pytest.approx(0.09)
    assert asked_steer(F(0.58), F(1), F(0.6), F(0.9), F(0.1)) == pytest.approx(0.6)


@given(st.floats(-0.3, 0.3))
@settings(deadline=None)
def test_steering_for_a_curvature_gives_that_curvature(curvature: float) -> None:
    steer = steer_for(F(curvature), F(2.0))
    _, _, yaw, _ = moved(0, 0, 0, 2, 0, steer, 2.0, 50, 0.01)
    assert yaw / 0.02 == pytest.approx(curvature, abs=2e-4)


def test_all_bodies_move_as_each_would_by_itself() -> None:
    """Braking to a stop, sliding, turning on foot, and one that is gone and stays where it was."""
    kinds = [Class.CAR, Class.BUS, Class.CYCLIST, Class.PEDESTRIAN, Class.TRUCK, Class.MOTORCYCLE, Class.VAN, Class.CAR]
    state, g = empty_state(1, len(kinds), 1), np.random.default_rng(2)
    state.kind[0], state.alive[0] = kinds, [1] * (len(kinds) - 1) + [0]
    for field, low, high in (("x_m", -50, 50), ("y_m", -50, 50), ("yaw_rad", -4, 4), ("speed_mps", 0, 15),
                             ("accel_mps2", -2, 2), ("steer_rad", -0.3, 0.3), ("wanted_accel_mps2", -6, 3),
                             ("wanted_steer_rad", -0.6, 0.6)):  # fmt: skip
        getattr(state, field)[0] = g.uniform(low, high, len(kinds))
    state.speed_mps[0, :2], state.accel_mps2[0, :2], state.wanted_accel_mps2[0, :2] = (0.2, 0.0), -4, -9
    before, notes = state.floats.copy(), np.zeros((NOTES, len(kinds)), F)
    was = State(before, state.ints, state.words, state.route, state.traits, state.grip_mps2)
    note(state.floats[0], state.ints[0], notes)
    move_all(state.floats[0], state.ints[0], notes, F(6), F(0.1))
    for a, kind in enumerate(kinds):
        body = BODIES[kind]
        accel = asked_accel(was.accel_mps2[0, a], was.wanted_accel_mps2[0, a], F(body.most_accel_mps2),
                            F(body.most_brake_mps2), F(body.jerk_mps3), F(6), F(0.1))  # fmt: skip
        steer = asked_steer(was.steer_rad[0, a], was.wanted_steer_rad[0, a], F(body.most_steer_rad),
                            F(body.steer_rate_radps), F(0.1))  # fmt: skip
        start = [float(was.x_m[0, a]), float(was.y_m[0, a]), float(was.yaw_rad[0, a]), float(was.speed_mps[0, a])]
        wanted = moved(*start, accel, steer, body.wheelbase_m, 6, 0.1) if state.alive[0, a] else start
        got = [float(part[0, a]) for part in (state.x_m, state.y_m, state.yaw_rad, state.speed_mps)]
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    assert state.speed_mps[0, :2].tolist() == state.accel_mps2[0, :2].tolist() == [0, 0]


boxes = st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(-4, 4), st.floats(0.5, 5), st.floats(0.5, 3))


@given(boxes, boxes)
@settings(deadline=None, max_examples=200)
def test_boxes_overlap_where_a_grid_of_points_says_so(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    """Brute force: points of one box, finely spread, that lie in the other; both ways."""

    def inside(points: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
        c, s = math.cos(box[2]), math.sin(box[2])
        dx, dy = points[..., 0] - box[0], points[..., 1] - box[1]
        along, across = np.abs(c * dx + s * dy), np.abs(c * dy - s * dx)
        return np.maximum(along - box[3] / 2, across - box[4] / 2)

    c, s = math.cos(a[2]), math.sin(a[2])
    u, v = np.meshgrid(np.linspace(-a[3] / 2, a[3] / 2, 120), np.linspace(-a[4] / 2, a[4] / 2, 120))
    depth = float(inside(np.stack([a[0] + c * u - s * v, a[1] + s * u + c * v], -1), b).min())
    if abs(depth) > 0.05:  # nearer than the grid is fine, it cannot tell
        assert overlap(*map(F, a), *map(F, b)) == (depth < 0)


def test_whose_fault_a_collision_is() -> None:
    me = (0.0, 0.0, 0.0, 4.6, 1.8)
    assert contact(*me, 0.0, 4.0, 0.0, 0.0, 4.6, 1.8, 5.0) == STANDING
    assert contact(*me, 5.0, 4.0, 0.0, 0.0, 4.6, 1.8, 0.0) == HIT_STANDING
    assert contact(*me, 9.0, 4.0, 0.0, 0.0, 4.6, 1.8, 5.0) == FRONT
    assert contact(*me, 5.0, -4.0, 0.0, 0.0, 4.6, 1.8, 9.0) == REAR
    assert contact(*me, 5.0, 0.0, 1.7, 0.0, 2.0, 1.8, 5.0) == SIDE
    assert at_fault(FRONT, 0.0, 3.5, 1.8)
    assert at_fault(HIT_STANDING, 0.0, 3.5, 1.8)
    assert not at_fault(REAR, 3.0, 3.5, 1.8)
    assert not at_fault(STANDING, 3.0, 3.5, 1.8)
    assert at_fault(SIDE, 1.2, 3.5, 1.8)  # over the line
    assert not at_fault(SIDE, 0.2, 3.5, 1.8)


def test_tables_give_the_exact_lines_to_a_millimetre() -> None:
    roads = catalog.make("crossroads(seed=2)", "roads").build()
    tables, places = tables_of([catalog.make("rural()", "roads").build(), roads])
    random = np.random.default_rng(0)
    base = int(places.map_n[1, 0])
    for index in random.integers(0, len(roads.lanes), 60):
        lane = roads.lanes[index]
        s = random.uniform(0, lane.line.length_m)
        x, y, yaw, curvature = lane.line.poses(s)[0]
        got = pose_at(tables, base + index, F(s))
        assert (got[0], got[1]) == pytest.approx((x, y), abs=2e-3)
        assert (got[2], got[3]) == pytest.approx((math.cos(yaw), math.sin(yaw)), abs=2e-3)
        assert got[4] == pytest.approx(curvature, abs=0.02)
        left = random.uniform(-1.5, 1.5)
        at = lane.line.pose(s).ahead(0, left)
        found = project(tables, base + index, F(s - 0.8), F(at.x_m), F(at.y_m))
        assert found == pytest.approx((s, left), abs=0.06)
        assert project(tables, base + index, F(found[0]), F(at.x_m), F(at.y_m)) == pytest.approx((s, left), abs=5e-3)


def test_bends_are_taken_and_reached_at_a_speed_that_eases_off() -> None:
    tables, _ = tables_of([catalog.make("rural(seed=1)", "roads").build()])
    rows = tables.samples[: tables.lane_n[1, 0]]
    cap, curvature = rows[:, 5], rows[:, 4]
    assert (cap**2 * np.abs(curvature) <= 2.001).all()
    assert (np.diff(cap**2) / 2 / tables.lane_f[0, STEP_M] >= -1.21).all()  # v dv/ds
    assert cap.max() == pytest.approx(22.2)


def test_chance_is_a_hash_and_nothing_else() -> None:
    def twin(key: int, tick: int, what: int) -> float:
        mask = (1 << 64) - 1

        def mix(z: int) -> int:
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            return z ^ (z >> 31)

        return (mix((mix(key) + ((tick << 32) ^ what) * 0x9E3779B97F4A7C15) & mask) >> 40) * 2.0**-24

    keys = world_keys(3, 4)
    assert (keys[2:] == world_keys(3, 2, first=2)).all()
    drawn = np.array([uniform(key, tick, what) for key in keys for tick in range(40) for what in range(20)])
    said = [twin(int(key), tick, what) for key in keys for tick in range(40) for what in range(20)]
    np.testing.assert_array_equal(drawn, np.array(said, np.float32))
    assert abs(drawn.mean() - 0.5) < 0.02
    assert len(np.unique(drawn)) > 3190
    assert mixed(np.uint64(1)) != mixed(np.uint64(2))


STARTED = """
import torch
torch.set_num_threads(1)
from stalwart.drive.threads import share
done = []
share(lambda first, last: done.append(last - first), 99)
print(sum(done), torch.get_num_threads())
"""


def test_numba_leaves_pytorchs_threads_alone(tmp_path: Path) -> None:
    script = tmp_path / "started.py"
    script.write_text(STARTED)
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["99", "1"]

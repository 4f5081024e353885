"""Centre lines against closed forms: circles, Fresnel integrals, brute-force projection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import fresnel

from stalwart.core.errors import InputError
from stalwart.drive.geometry.curves import CentreLine, Piece, Pose, arc, fit, joined, line, wrap

small = st.floats(-0.05, 0.05)
poses = st.builds(Pose, st.floats(-100, 100), st.floats(-100, 100), st.floats(-3, 3))
lines = st.builds(
    CentreLine, poses, st.lists(st.builds(Piece, st.floats(3, 60), small, small), min_size=1, max_size=4).map(tuple)
)


def test_a_quarter_of_a_circle_ends_where_geometry_says() -> None:
    end = CentreLine(Pose(1, 2, 0), (arc(10, math.pi / 2),)).end
    assert (end.x_m, end.y_m, end.yaw_rad) == pytest.approx((11, 12, math.pi / 2), abs=1e-12)
    end = CentreLine(Pose(1, 2, 0), (arc(10, -math.pi / 2),)).end
    assert (end.x_m, end.y_m, end.yaw_rad) == pytest.approx((11, -8, -math.pi / 2), abs=1e-12)


@given(st.floats(1, 200), st.floats(1e-4, 0.01))
@settings(deadline=None)
def test_a_clothoid_is_the_fresnel_integral(length: float, sharpness: float) -> None:
    """∫cos(c t²/2) dt = √(π/c) C(s √(c/π))."""
    if sharpness * length**2 > 4 * math.pi:
        length = math.sqrt(4 * math.pi / sharpness)
    scale = math.sqrt(math.pi / sharpness)
    s, c = fresnel(length / scale)
    piece = Piece(length, 0.0, sharpness * length * 0.999999999)
    end = CentreLine(Pose(0, 0, 0), (piece,)).end
    assert (end.x_m, end.y_m) == pytest.approx((scale * c, scale * s), abs=1e-6)


@given(lines, st.floats(0, 1), st.floats(-6, 6))
@settings(deadline=None)
def test_a_point_beside_the_line_is_projected_to_where_it_was_set(road: CentreLine, share: float, left: float) -> None:
    """Unless another stretch of the line is nearer, which a fine grid tells."""
    s = share * road.length_m
    point = road.pose(s).ahead(0, left)
    found, distance = road.project(point.x_m, point.y_m)
    grid = road.poses(np.linspace(0, road.length_m, 4000))
    nearest = float(np.hypot(grid[:, 0] - point.x_m, grid[:, 1] - point.y_m).min())
    assert abs(distance) <= nearest + 1e-9
    if abs(nearest - abs(left)) < 1e-3:
        assert abs(distance) == pytest.approx(abs(left), abs=1e-6)
    assert 0 <= found <= road.length_m


@given(lines, st.floats(-6, 6))
@example(CentreLine(Pose(0, 0, 0), (Piece(5.0, 0.0, 0.046875),)), 5.0)  # tightens within 5 m from straight to 21 m
@settings(deadline=None, max_examples=40)
def test_a_parallel_keeps_its_distance(road: CentreLine, left: float) -> None:
    beside = road.offset(left)
    for share in (0.0, 0.13, 0.5, 0.77, 1.0):
        at = beside.pose(share * beside.length_m)
        grid = road.poses(np.linspace(0, road.length_m, 200))
        near = int(np.hypot(grid[:, 0] - at.x_m, grid[:, 1] - at.y_m).argmin())
        s = near / 199 * road.length_m
        for _ in range(30):  # the foot of the perpendicular nearest to that grid point
            x, y, yaw, _ = road.poses(s)[0]
            s += (at.x_m - x) * math.cos(yaw) + (at.y_m - y) * math.sin(yaw)
        x, y, yaw, _ = road.poses(s)[0]
        assert (at.y_m - y) * math.cos(yaw) - (at.x_m - x) * math.sin(yaw) == pytest.approx(left, abs=5e-3)


@given(poses, st.floats(5, 80), st.floats(-1.2, 1.2), st.floats(-1.2, 1.2))
@settings(deadline=None)
def test_a_fitted_clothoid_joins_two_poses(start: Pose, chord: float, direction: float, turn: float) -> None:
    end = start.ahead(chord * math.cos(direction), chord * math.sin(direction), direction + turn)
    found = CentreLine(start, (fit(start, end),)).end
    assert math.hypot(found.x_m - end.x_m, found.y_m - end.y_m) < 1e-7
    assert abs(wrap(found.yaw_rad - end.yaw_rad)) < 1e-9


def test_a_symmetric_turn_is_fitted_by_the_arc() -> None:
    piece = fit(Pose(0, 0, 0), Pose(8, 8, math.pi / 2))
    assert piece.start_curvature == pytest.approx(1 / 8)
    assert piece.end_curvature == pytest.approx(1 / 8)
    assert piece.length_m == pytest.approx(4 * math.pi)


@given(lines)
@settings(deadline=None, max_examples=30)
def test_there_and_back_and_in_parts_is_the_same_line(road: CentreLine) -> None:
    s = np.linspace(0, road.length_m, 17)
    there, back = road.poses(s), road.reversed().poses(s[::-1])
    np.testing.assert_allclose(there[:, :2], back[:, :2], atol=1e-7)
    np.testing.assert_allclose(there[1:-1, 3], -back[1:-1, 3], atol=0.1)  # at a joint either side's curvature
    cut = 0.4 * road.length_m
    again = joined([road.section(0, cut), road.section(cut, road.length_m)])
    np.testing.assert_allclose(again.poses(s)[:, :2], there[:, :2], atol=1e-7)


def test_a_lane_swings_out_and_arrives_parallel() -> None:
    road = CentreLine(Pose(0, 0, 0), (line(60),))
    swung = road.offset(-3.5, start_m=3.5)
    assert (swung.start.y_m, swung.start.yaw_rad) == pytest.approx((0, 0))
    assert (swung.end.x_m, swung.end.y_m, swung.end.yaw_rad) == pytest.approx((60, -3.5, 0), abs=1e-9)


def test_beyond_its_ends_a_line_goes_straight_on() -> None:
    road = CentreLine(Pose(0, 0, 0), (arc(10, math.pi / 2),))
    x, y, _, curvature = road.poses(road.length_m + 3)[0]
    assert (x, y, curvature) == pytest.approx((10, 13, 0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Piece(0.0), "length_m must be above 0"),
        (lambda: Piece(100, 1.0, 1.0), "at most 4π"),
        (lambda: CentreLine(Pose(0, 0, 0), ()), "at least one piece"),
        (lambda: fit(Pose(0, 0, 0), Pose(0, 0, 1)), "must be apart"),
        (lambda: CentreLine(Pose(0, 0, 0), (arc(3, 1.0),)).offset(4), "folds over"),
        (lambda: joined([CentreLine(Pose(0, 0, 0), (line(1),)), CentreLine(Pose(5, 0, 0), (line(1),))]), "starts at"),
    ],
)
def test_what_cannot_be_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()  # type: ignore[operator]

"""The world from above, and logs that replay."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from stalwart.core.errors import DataError, InputError
from stalwart.drive import topdown
from stalwart.drive.dressing import Dressed
from stalwart.drive.planners.named import driver_of
from stalwart.drive.recording import Log, Setting, read_log
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Worlds

SETTING = Setting("crossroads(seed=1)", worlds=3, agents=10, walkers=2, seed=5)


@cache
def worlds() -> Worlds:
    world = SETTING.build()
    driver = driver_of("expert", world)
    for _ in range(10):
        world.step(driver())
    return world


def test_the_route_is_the_one_that_the_driver_is_told_of() -> None:
    world = worlds()
    seen, state = world.observe()[:, 0], world.state
    told = 0
    for index in range(3):
        points = topdown.route_of(world, index, step_m=0.1)
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        cosine, sine = np.cos(state.yaw_rad[index, 0]), np.sin(state.yaw_rad[index, 0])
        for k, ahead in enumerate((0.0, 5.0, 10.0, 20.0, 40.0)):
            if ahead > along[-1]:
                continue
            x, y = seen[index, 7 + 3 * k : 9 + 3 * k]
            place = (state.x_m[index, 0] + x * cosine - y * sine, state.y_m[index, 0] + x * sine + y * cosine)
            found = points[int(np.searchsorted(along, ahead))]
            assert np.hypot(*(found - place)) < 0.4
            told += 1
    assert told > 10


def test_ground_bodies_and_signals_lie_where_they_are() -> None:
    world = worlds()
    scene = Dressed(world, boxes=60).scene()
    size, across = 480, 240.0
    signals = 0
    for index in range(3):
        picture = topdown.draw(scene, index, size_px=size, across_m=across)
        assert picture.shape == (size, size, 3)
        x0, y0, yaw = (float(a[index, 0]) for a in (scene.x_m, scene.y_m, scene.yaw_rad))

        def colour(x: float, y: float, picture=picture, x0=x0, y0=y0, yaw=yaw) -> np.ndarray | None:
            turned = np.exp(-1j * yaw) * complex(x - x0, y - y0)  # ahead + i · left
            row, column = 0.62 * size - turned.real * size / across, size / 2 - turned.imag * size / across
            return picture[int(row), int(column)].astype(int) if 2 < row < 477 and 2 < column < 477 else None

        np.testing.assert_allclose(colour(x0, y0), topdown.EGO, atol=40)
        alive = [b for b in range(60) if scene.alive[index, b]]
        for b in alive:
            at = colour(float(scene.x_m[index, b]), float(scene.y_m[index, b]))
            kind = Class(int(scene.kind[index, b]))
            if at is None:
                continue
            if kind == Class.BUILDING:
                np.testing.assert_allclose(at, topdown.THINGS[kind], atol=3)
            elif kind == Class.SIGNAL:
                signals += 1
                assert max(at) - min(at) > 60  # red, amber or green, and no grey of the road
        raster, origin = world.maps[0].raster(0.25)
        random = np.random.default_rng(index)
        same = looked = 0
        for _ in range(400):
            x, y = x0 + random.uniform(-30, 30), y0 + random.uniform(-30, 30)
            reach = np.hypot(scene.x_m[index] - x, scene.y_m[index] - y) - np.hypot(
                scene.length_m[index], scene.width_m[index]
            )
            row, column = int((y - origin[1]) / 0.25), int((x - origin[0]) / 0.25)
            around = raster[row - 3 : row + 4, column - 3 : column + 4]
            at = colour(x, y)
            if at is None or reach[scene.alive[index]].min() < 2 or len(np.unique(around)) > 1:
                continue
            looked += 1
            same += np.abs(at - topdown.GROUND[Class(int(around[0, 0]))]).max() <= 3
        assert looked > 60
        assert same == looked
    assert signals > 2


def test_a_log_replays_to_the_same_bits_and_tells_where_it_does_not(tmp_path: Path) -> None:
    world = SETTING.build()
    driver, log, path = driver_of("lane", world), Log(SETTING, world), tmp_path / "a.npz"
    for step in range(12):
        controls = driver()
        world.step(controls)
        fresh = np.array([step == 5, False, False])
        if fresh.any():
            world.reset(fresh)
        log.add(controls, fresh, world)
    log.write(path)
    held = read_log(path)
    assert held.setting == SETTING
    again = held.setting.build()
    assert len(list(held.play(again))) == held.steps == 12
    for name in ("floats", "ints", "words", "route"):
        np.testing.assert_array_equal(getattr(again.state, name), getattr(world.state, name))
    arrays = dict(np.load(path))
    changed = arrays["controls"].copy()
    changed[7, 1, 0, 0] += 0.5
    np.savez(tmp_path / "b.npz", **{**arrays, "controls": changed})
    with pytest.raises(DataError, match="step 8 of 12 comes out otherwise"):
        list(read_log(tmp_path / "b.npz").play(SETTING.build()))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("controls", np.full((12, 3, 1, 2), np.nan, np.float32), "finite float32 controls"),
        ("controls", np.zeros((12, 2, 1, 2), np.float32), "finite float32 controls"),
        ("fresh", np.zeros((11, 3), np.bool_), "fresh as bool"),
        ("digests", np.zeros(12, np.uint32), "digests as uint32"),
        ("setting", np.frombuffer(b"{}", np.uint8), "setting to have"),
        ("setting", np.frombuffer(b"\xff", np.uint8), "JSON"),
        ("setting", np.array([object()]), "numbers"),
    ],
)
def test_damaged_logs_are_refused_in_one_line(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    text = b'{"roads": "rural()", "worlds": 3, "agents": 4, "walkers": 0, "traffic": "mixed", "seed": 0}'
    arrays = {
        "setting": np.frombuffer(text, np.uint8), "controls": np.zeros((12, 3, 1, 2), np.float32),
        "fresh": np.zeros((12, 3), np.bool_), "digests": np.zeros(13, np.uint32),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    assert read_log(tmp_path / "a.npz").steps == 12
    np.savez(tmp_path / "a.npz", **{**arrays, name: value})
    with pytest.raises(DataError, match=message) as error:
        read_log(tmp_path / "a.npz")
    assert "a.npz" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("exprt", "Did you mean 'expert'"),
        ("constant(steer=1)", "accel_mps2, steer_rad"),
        ("constant('a')", "finite number"),
        ("expert(1)", "none"),
    ],
)
def test_drivers_that_cannot_be_are_refused(spelled: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        driver_of(spelled, worlds())


def test_a_constant_driver_keeps_its_hands_still() -> None:
    controls = driver_of("constant(0.5, steer_rad=-0.1)", worlds())()
    np.testing.assert_allclose(controls, np.tile([0.5, -0.1], (3, 1, 1)), rtol=1e-6)

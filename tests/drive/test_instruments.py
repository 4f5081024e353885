"""GPS, IMU and speed, latency, and cameras gone wrong."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import street

from stalwart.core.errors import InputError
from stalwart.drive.scene import Scene
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.faults import Blackout, DeadPixels, DirtyLens, FrozenFrame, misaligned
from stalwart.drive.sensors.navigation import Delay, Motion, Navigation


def motion(worlds: int, value: float = 10.0) -> Motion:
    return Motion(*(np.full(worlds, value, np.float32) for _ in range(6)))


def test_instruments_are_as_noisy_as_they_say() -> None:
    scene = Scene.empty(20000, 1, street())
    scene.tick[:] = 137
    told = Navigation().read(scene, motion(20000))
    assert (told.x_m - 10).std() == pytest.approx(np.hypot(0.4, 1.2), rel=0.03)
    assert (told.yaw_rad - 10).std() == pytest.approx(0.01, rel=0.03)
    assert (told.speed_mps - 10).std() == pytest.approx(0.1, rel=0.03)
    assert (told.accel_mps2 - 10).std() == pytest.approx(0.08, rel=0.03)
    assert (told.yaw_rate_radps - 10).std() == pytest.approx(0.004, rel=0.03)
    part = Navigation().read(scene.select(np.array([7])), motion(1))
    assert part.x_m[0] == told.x_m[7]


def test_the_gps_wanders_smoothly_and_a_worn_wheel_stays_worn() -> None:
    scene = Scene.empty(200, 1, street())
    quiet = Navigation(position_m=0.0, drift_ticks=50)
    track, speeds = [], []
    for tick in range(150):
        scene.tick[:] = tick
        told = quiet.read(scene, motion(200))
        track.append(told.x_m)
        speeds.append(told.speed_mps)
    steps = np.diff(np.stack(track), axis=0)
    assert abs(steps).max() < 0.25
    assert np.stack(track).std() == pytest.approx(1.2, rel=0.15)
    assert np.ptp(np.stack(speeds), axis=0).max() == 0


def test_readings_come_late_and_not_from_before_the_beginning() -> None:
    delay: Delay[Motion] = Delay(3)
    heard = [delay(motion(2, float(t)), np.array([t == 5, False])).x_m.tolist() for t in range(9)]
    assert [b for _, b in heard] == [0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert [a for a, _ in heard] == [0, 0, 0, 0, 1, 5, 5, 5, 5]


def test_faults_spoil_what_they_say_and_nothing_else() -> None:
    scene = Scene.empty(400, 1, street())
    grey = np.full((400, 3, 24, 36), 100, np.uint8)
    dead = DeadPixels(0.02)(grey, scene)
    assert (dead != 100).all(1).mean() == pytest.approx(0.02, abs=0.002)
    assert set(np.unique(dead)) == {0, 100, 255}
    dirty = DirtyLens()(grey, scene)
    assert 0.02 < (dirty != 100).any(1).mean() < 0.4
    assert (dirty != dirty[:1]).any()
    scene.tick[:] = 3
    assert np.array_equal(dead, DeadPixels(0.02)(grey, scene))
    assert np.array_equal(dirty, DirtyLens()(grey, scene))
    dark = Blackout(0.25)(grey, scene)
    assert (dark == 0).all((1, 2, 3)).mean() == pytest.approx(0.25, abs=0.07)
    assert set(np.unique(dark)) == {0, 100}


def test_a_frozen_frame_stays_for_its_ticks() -> None:
    scene = Scene.empty(300, 1, street())
    freeze = FrozenFrame(chance=0.1, ticks=4)
    seen = []
    for tick in range(40):
        scene.tick[:] = tick
        seen.append(freeze(np.full((300, 3, 2, 2), tick, np.uint8), scene)[:, 0, 0, 0].astype(int))
    stale = np.arange(40)[:, None] - np.stack(seen)
    assert stale.max() == 4
    assert stale.min() == 0
    # Renewal: 1 / 0.1 ticks until it freezes, then 4 frozen ones.
    assert (stale > 0).mean() == pytest.approx(4 / 13, abs=0.06)


def test_a_knock_turns_the_camera_and_moves_its_picture() -> None:
    camera = Camera()
    row, column, _ = camera.project(np.array([20.0]), np.array([0.0]), np.array([1.35]))
    row_2, column_2, _ = misaligned(camera).project(np.array([20.0]), np.array([0.0]), np.array([1.35]))
    assert row_2[0] - row[0] == pytest.approx(2.0, abs=0.1)
    assert column_2[0] - column[0] == pytest.approx(camera.focal_px * np.tan(np.radians(1.5)), rel=0.05)


def test_values_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"navigation.drift_ticks must be at least 1. Got 0"):
        Navigation(drift_ticks=0)
    with pytest.raises(InputError, match=r"delay.ticks must be at least 0. Got -1"):
        Delay(-1)
    with pytest.raises(InputError, match=r"dead_pixels.share must be in \[0, 1\]. Got 3"):
        DeadPixels(3)

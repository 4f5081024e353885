"""The LiDAR against brute force, against the camera, and its noise against what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import differing, random_scene, street

from stalwart.core.errors import InputError
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensors import styles
from stalwart.drive.sensors.camera import Camera, eyes, see
from stalwart.drive.sensors.lidar import Lidar, Scan, scan

PERFECT = Lidar(deviation_m=0.0, dropout=0.0, weather=0.0, greatest_m=1e4)


def test_a_perfect_scan_equals_brute_force() -> None:
    scene = random_scene(10, 24, seed=8)
    found = scan(scene, PERFECT)
    places = eyes(scene, np.zeros(10, np.int32), [(0.0, 0.0, 1.9, 0.0)])
    slant = np.sqrt(1 + PERFECT.fan.slopes.astype(np.float64) ** 2)[:, None]
    for world in range(10):
        depth = np.where(found.range_m[world] > 0, found.range_m[world] / slant, np.inf)
        wrong, error, unexplained = differing(
            scene, world, PERFECT.fan, places[world], (depth, found.kind[world], found.instance[world])
        )
        assert unexplained == 0
        assert wrong <= 1
        assert error < 1e-4


def test_points_land_on_the_same_instance_in_the_camera() -> None:
    """Of the points that lie within the picture and no pixel from an edge, 99 in a hundred; seen from one place."""
    scene = random_scene(24, 24, seed=9)
    lidar = Lidar(azimuths=512, channels=24, highest_deg=8, z_m=1.5, x_m=0.4, yaw_deg=20, weather=0.0)
    camera = Camera(height=96, width=160, z_m=1.5, x_m=0.4, yaw_deg=-15, fov_deg=80)
    echoes, frames = scan(scene, lidar), see(scene, camera)
    points = lidar.points(echoes.range_m)
    row, column, depth = camera.project(*np.moveaxis(points, -1, 0))
    row, column = (np.rint(np.nan_to_num(x, posinf=-1, neginf=-1)).astype(int) for x in (row, column))
    inside = (echoes.range_m > 0) & (depth > 0.5) & (row >= 1) & (row < 95) & (column >= 1) & (column < 159)
    world, *_ = np.nonzero(inside)
    r, c = row[inside], column[inside]
    around = np.stack([frames.instance[world, r + i, c + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    calm = (around == around[4]).all(0)
    same = frames.instance[world, r, c] == echoes.instance[inside]
    assert calm.sum() > 2000
    assert (echoes.instance[inside][calm] > 0).sum() > 500
    assert same[calm].mean() >= 0.99
    near = abs(frames.depth_m[world, r, c] - depth[inside])[calm & (depth[inside] < 15) & (echoes.instance[inside] > 0)]
    assert np.median(near) < 0.15


def walled(style: str) -> Scene:
    """Worlds between four walls 20 m away."""
    scene = Scene.empty(64, 5, street())
    for box, (x, y) in enumerate(((20, 0), (-20, 0), (0, 20), (0, -20)), 1):
        scene.x_m[:, box], scene.y_m[:, box] = x, y
        scene.length_m[:, box], scene.width_m[:, box] = (1, 60) if y == 0 else (60, 1)
    scene.height_m[:], scene.alive[:, 1:], scene.kind[:] = 10.0, True, Class.BUILDING
    scene.style[:] = styles.style(style)
    return scene


def test_noise_has_the_deviation_and_dropout_that_it_says() -> None:
    noisy = Lidar(deviation_m=0.05, dropout=0.1, lowest_deg=-2, highest_deg=2)
    clean = Lidar(deviation_m=0.0, dropout=0.0, lowest_deg=-2, highest_deg=2)
    scene = walled("sun")
    heard, truth = scan(scene, noisy), scan(scene, clean)
    lost = (heard.range_m == 0) & (truth.range_m > 0)
    assert lost.mean() == pytest.approx(0.1, abs=0.004)
    errors = (heard.range_m - truth.range_m)[heard.range_m > 0]
    assert errors.std() == pytest.approx(0.05, rel=0.02)
    assert abs(errors.mean()) < 0.001
    scene.tick[:] += 1
    assert (scan(scene, noisy).range_m != heard.range_m).mean() > 0.9


def test_weather_shortens_what_is_heard_and_rain_answers_close_by() -> None:
    reached = {}
    for style in ("sun", "fog", "rain"):
        echoes = scan(walled(style), Lidar(lowest_deg=0.5, highest_deg=3))
        reached[style] = (echoes.kind == Class.BUILDING).mean(), ((echoes.range_m > 0) & (echoes.kind == 0)).mean()
    assert reached["sun"] == (pytest.approx(1.0, abs=0.01), 0.0)
    assert reached["fog"][0] <= reached["sun"][0]
    assert reached["rain"][1] == pytest.approx(0.0105, abs=0.002)


def test_echoes_are_the_same_bits_in_any_batch() -> None:
    scene = random_scene(19, 12, seed=10)
    whole = scan(scene, Lidar())
    some = np.array([18, 3])
    part = scan(scene.select(some), Lidar())
    for name in Scan.__dataclass_fields__:
        assert np.array_equal(getattr(whole, name)[some], getattr(part, name))


def test_a_wrong_lidar_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"lidar.dropout must be in \[0, 1\]. Got 2"):
        Lidar(dropout=2)
    with pytest.raises(InputError, match=r"lidar.highest_deg must be from lowest_deg to 90. Got -30"):
        Lidar(highest_deg=-30)

"""The camera's kernels against brute force, against themselves in other batches, and against what eyes would say."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pytest
from worlds import differing, random_scene, street

from stalwart.core.errors import InputError
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensors import styles
from stalwart.drive.sensors.camera import Camera, eyes, mount, see

CAMERA = Camera(height=48, width=72)


@pytest.mark.parametrize(
    "camera",
    [CAMERA, Camera(40, 64, fov_deg=110, y_m=0.8, yaw_deg=75, horizon=0.3), Camera(33, 51, z_m=6.0, horizon=0.05)],
    ids=["front", "side", "above roofs"],
)
def test_class_and_instance_equal_brute_force_in_all_pixels_and_depth_to_1e_4(camera: Camera) -> None:
    scene = random_scene(12, 24, seed=3)
    frames = see(scene, camera)
    places = eyes(scene, np.zeros(12, np.int32), [mount(camera)])
    for world in range(12):
        found = frames.depth_m[world], frames.kind[world], frames.instance[world]
        wrong, error, unexplained = differing(scene, world, camera.fan, places[world], found)
        assert unexplained == 0
        assert wrong <= 1  # a ray within rounding of an edge
        assert error < 1e-4
    assert len(np.unique(frames.kind)) > 8


def test_pictures_are_the_same_bits_in_any_batch_and_with_any_threads() -> None:
    scene = random_scene(19, 20, seed=5)
    scene.tick[:] = 7
    whole = see(scene, CAMERA)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = see(scene, CAMERA)
    finally:
        numba.set_num_threads(before)
    some = np.array([17, 2, 9])
    part = see(scene.select(some), CAMERA)
    for name in ("rgb", "depth_m", "kind", "instance"):
        assert np.array_equal(getattr(whole, name), getattr(alone, name))
        assert np.array_equal(getattr(whole, name)[some], getattr(part, name))


def one_car(distance_m: float, style: str = "sun") -> Scene:
    scene = Scene.empty(1, 2, street())
    scene.length_m[:], scene.width_m[:], scene.height_m[:] = 4.0, 2.0, 1.5
    scene.x_m[0, 1] = distance_m
    scene.kind[:], scene.alive[:] = Class.CAR, True
    scene.style[:] = styles.style(style)
    return scene


def test_a_car_ahead_covers_what_a_pinhole_says() -> None:
    camera = Camera(height=65, width=97, x_m=0.0, horizon=0.5)
    frames = see(one_car(22.0), camera)
    rows, columns = np.nonzero(frames.instance[0] == 2)
    assert columns.max() - columns.min() + 1 == pytest.approx(camera.focal_px * 2.0 / 20.0, abs=1)
    assert rows.max() == pytest.approx(camera.project(*(np.array([v]) for v in (20.0, 0.0, 0.0)))[0][0], abs=1)
    assert frames.depth_m[0, rows[-1], columns[-1]] == pytest.approx(20.0, abs=1e-4)


def test_the_own_box_is_not_seen_but_casts_a_shadow() -> None:
    scene = one_car(200.0)
    scene.sun_azimuth_rad[:] = np.pi  # behind: the shadow falls ahead
    camera = Camera(height=64, width=96, horizon=0.2, z_m=1.4, x_m=1.5)
    lit = see(scene, camera)
    assert not (lit.instance == 1).any()
    scene.alive[0, 0] = False
    without = see(scene, camera)
    darker = without.rgb.astype(int) - lit.rgb.astype(int)
    assert (darker[0].sum(0) > 60).sum() > 100
    assert darker.min() >= 0


@pytest.mark.parametrize("style", ["cloud", "night"])
def test_without_sun_the_ground_is_darker_below_a_body_and_a_little_around_it(style: str) -> None:
    """Where the footprint lies in the picture the pinhole says."""
    camera = Camera(height=192, width=288, x_m=0.0, z_m=3.0, horizon=0.2)
    there = one_car(9.0, style)
    away = one_car(200.0, style)
    darker = see(away, camera).rgb[0].sum(0).astype(int) - see(there, camera).rgb[0].sum(0).astype(int)
    at = 7.0 - np.array([0.08, 0.35, 1.2])  # behind its rear
    rows, columns, _ = camera.project(at, np.zeros(3), np.zeros(3))
    below, around, beyond = (darker[round(v), round(u)] for v, u in zip(rows, columns, strict=True))
    assert beyond == 0
    assert 0 < around < below


def test_the_sky_has_no_bands() -> None:
    """Rows of a large picture step by a few levels and often: few are the same as the one above."""
    sky = see(one_car(200.0, "dusk"), Camera(height=192, width=320)).rgb[0, :, :64].astype(int)  # above the hills
    steps = abs(np.diff(sky.mean(2), axis=1))
    assert steps.max() < 5
    assert (steps == 0).mean() < 0.65
    assert sky.std() > 20


def test_fog_hides_and_head_lamps_light() -> None:
    near, far = one_car(12.0, "fog"), one_car(55.0, "fog")
    haze = np.array(styles.STYLES[styles.style("fog")].horizon) * 255
    for scene, least, most in ((near, 20, 255), (far, 0, 12)):
        frames = see(scene, CAMERA)
        body = frames.rgb[0][:, frames.instance[0] == 2].mean(1)
        assert least <= abs(body - haze).max() <= most
    night = see(one_car(200.0, "night"), CAMERA)
    ground = night.rgb[0, 0].astype(int)
    road = (night.kind[0] == Class.ROAD) & (abs(np.arange(72) - 35.5) < 10)
    assert ground[road & (night.depth_m[0] < 12)].mean() > 3 * ground[road & (night.depth_m[0] > 40)].mean()


def test_rows_of_a_far_checkerboard_do_not_flicker() -> None:
    """A pattern finer than a pixel is seen as its mean, wherever the camera stands."""
    import torch

    from stalwart.drive.sensors.skins import Look, default_look, skin

    look = default_look()
    size = look.textures.bank.shape[-1]
    board = ((torch.arange(size)[:, None] + torch.arange(size)) % 2).float().expand(3, size, size)
    fine = Look(look.textures.replaced({"plain": board}))
    scene = one_car(30.0, "cloud")
    scene.skin[:] = skin("plain")
    shades = []
    for shift in np.linspace(0, 0.06, 7):
        scene.y_m[0, 1] = shift
        frames = see(scene, Camera(48, 72, horizon=0.5), look=fine)
        rows, columns = np.nonzero(frames.instance[0] == 2)
        shades.append(frames.rgb[0][:, rows, columns])
    assert all(shade.std(1).max() < 1 for shade in shades)


def test_a_wrong_mount_ego_or_room_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"camera.fov_deg must be above 0 and below 170. Got 180"):
        Camera(fov_deg=180)
    scene = one_car(20.0)
    with pytest.raises(InputError, match=r"ego must hold a box of 0 to 1 for each of 1 worlds"):
        see(scene, CAMERA, ego=np.array([2], np.int32))
    with pytest.raises(InputError, match=r"out must be room for \(1, 48, 72\). Got \(1, 64, 96\)"):
        see(scene, CAMERA, out=see(scene, Camera()))
    with pytest.raises(InputError, match=r"style must be one of the known. Got 'fogg'. Did you mean 'fog'"):
        styles.style("fogg")
    assert dataclasses.replace(CAMERA, height=20).height == 20


def test_rain_and_snow_fall_anew_at_every_tick_and_nowhere_else() -> None:
    changed = {}
    for name in ("sun", "rain", "snow"):
        scene = one_car(20.0, name)
        first = see(scene, CAMERA)
        scene.tick[:] += 1
        second = see(scene, CAMERA)
        assert np.array_equal(first.depth_m, second.depth_m)
        changed[name] = float((first.rgb != second.rgb).any(1).mean())
    assert changed["sun"] == 0
    assert 0.02 < changed["rain"] < 0.3
    assert 0.005 < changed["snow"] < 0.2

"""The camera stack: columns against brute force, gaps against closed forms, guards against scenes that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.drive.adversaries.changes import driver_of
from stalwart.drive.scenarios.stage import put, worlds_of
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.scene import Class, Ground, Scene
from stalwart.drive.sensing import SensorDriver
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.lidar import Lidar, scan
from stalwart.drive.sensors.skins import skin
from stalwart.drive.stack import checks
from stalwart.drive.stack.corridor import FAR_M, along, followed, gap_of
from stalwart.drive.stack.keeper import Keeper, _as_seen
from stalwart.drive.stack.stixels import BINS, EDGES_M, Stixels, body_odds, places, ranges, targets
from stalwart.run._calm import limits_of, peaks

STRAIGHT = np.array([[[0.0, 0], [5, 0], [10, 0], [20, 0], [40, 0]]])


def road(distance_m: float) -> Scene:
    """A car ahead on an empty road, its rear bumper `distance_m` before the camera car's middle."""
    raster = np.full((1, 400, 800), Class.ROAD, np.uint8)
    scene = Scene.empty(1, 2, Ground(raster, 0.25, np.array([[-50, -50]], np.float32)))
    scene.length_m[:], scene.width_m[:], scene.height_m[:] = 4.5, 1.8, 1.5
    scene.x_m[:, 1] = distance_m + 2.25
    scene.kind[:], scene.skin[:], scene.alive[:] = Class.CAR, skin("car"), True
    return scene


def test_targets_are_the_nearest_body_of_each_column() -> None:
    camera = Camera(height=48, width=96, fov_deg=50.0)
    frames = see(road(17.0), camera)
    found = targets(frames)
    for column in range(48):
        depths = [
            frames.depth_m[0, v, u] for v in range(48) for u in (2 * column, 2 * column + 1)
            if Class.CAR <= frames.kind[0, v, u] <= Class.OBSTACLE
        ]  # fmt: skip
        expected = BINS if not depths else max(k for k in range(BINS) if EDGES_M[k] <= min(depths))
        assert found[0, column] == expected
    assert (found < BINS).sum() in (5, 6, 7)  # 1.8 m at 16.4 m, 103 pixels of focal length, 2 pixels a column


def test_ranges_and_places_undo_the_projection() -> None:
    logits = torch.full((1, 48, BINS + 1), -20.0)
    logits[..., BINS] = 0.0
    logits[0, 30, 9], logits[0, 30, BINS] = 20.0, -20.0
    assert (body_odds(logits)[0] > 0).nonzero().flatten().tolist() == [30]
    depth = ranges(logits).numpy()
    assert depth[0, 30] == pytest.approx(np.sqrt(EDGES_M[9] * EDGES_M[10]), rel=1e-4)
    camera = Camera(height=48, width=96, fov_deg=50.0)
    x, y = places(depth, camera)[0, 30]
    row_column = camera.project(np.array([x]), np.array([y]), np.array([1.0]))
    assert row_column[1][0] == pytest.approx(60.5, abs=0.01)  # the middle of pixels 60 and 61
    assert row_column[2][0] == pytest.approx(depth[0, 30], rel=1e-6)


def test_along_a_path_and_the_gap_to_what_lies_on_it() -> None:
    points = np.array([[[7.0, 0.4], [60.0, -1.0], [12.0, 5.0]]])
    s, away = along(STRAIGHT, points)
    assert np.allclose(s, [[7, 60, 12]])
    assert np.allclose(away, [[0.4, 1.0, 5.0]])
    corner = np.array([[[0.0, 0], [5, 0], [10, 0], [10, 10], [10, 30]]])
    s, away = along(corner, np.array([[[11.0, 25.0]]]))
    assert s[0, 0] == pytest.approx(35.0)
    assert away[0, 0] == pytest.approx(1.0)
    on = np.ones((1, 3), np.bool_)
    assert gap_of(STRAIGHT, points, on, 2.3)[0] == pytest.approx(4.7)
    assert gap_of(STRAIGHT, points, np.array([[False, False, True]]), 2.3)[0] == FAR_M
    pair = np.array([[[30.0, 0.0], [30.5, 0.3], [20.0, 0.0]]])  # one echo alone is noise
    assert gap_of(STRAIGHT, pair, on, 2.3, least=2)[0] == pytest.approx(27.7)


def test_a_gap_that_closes_evenly_tells_the_speed_ahead() -> None:
    kept = np.zeros((2, 4))
    speed = np.array([15.0, 15.0])
    for tick in range(80):
        gap, ahead, kept = followed(kept, np.array([80.0 - 0.5 * tick, FAR_M]), speed, 0.1)
    assert ahead[0] == pytest.approx(10.0, abs=0.1)  # 15 m/s less 5 m/s of closing
    assert gap[0] == pytest.approx(80.0 - 0.5 * 79, abs=0.3)
    assert gap[1] == FAR_M
    assert ahead[1] == 15.0
    for _ in range(5):
        gap, _, kept = followed(kept, np.array([FAR_M, FAR_M]), speed, 0.1)
    assert gap[0] == FAR_M
    assert not kept.any(where=np.array([[True, True, False, True]]))
    gap, _, kept = followed(kept, np.array([9.0, FAR_M]), speed, 0.1)
    assert gap[0] == FAR_M  # one step alone
    assert followed(kept, np.array([8.0, FAR_M]), speed, 0.1)[0][0] < 9


def test_a_car_stands_up_to_the_physics_and_few_echoes_do_not() -> None:
    lidar = Lidar(dropout=0.0)
    heard = scan(road(12.0), lidar)
    points = lidar.points(heard.range_m)
    body = checks.standing(points, heard.range_m)
    assert body.sum() > 10
    assert not checks.seen_through(points, heard.range_m, lidar)[heard.instance == 2].any()
    empty = scan(road(200.0), lidar)
    ranges_m = empty.range_m.copy()
    channel = int(np.abs(lidar.fan.slopes + 0.1).argmin())  # one channel alone, well above the ground at 8 m
    ahead = np.abs(lidar.fan.azimuths) < 0.05
    ranges_m[:, channel, ahead] = 8.0
    points = lidar.points(ranges_m)
    assert checks.standing(points, ranges_m)[0, channel, ahead].all()
    assert checks.seen_through(points, ranges_m, lidar)[0, channel, ahead].all()


def test_ground_that_does_not_answer_is_a_hole() -> None:
    lidar = Lidar(dropout=0.0)
    heard = scan(road(200.0), lidar)
    assert checks.hole(heard.range_m, lidar, STRAIGHT)[0] == 0
    gone = heard.range_m.copy()
    gone[:, :, np.abs(lidar.fan.azimuths) < 0.15] = 0
    assert checks.hole(gone, lidar, STRAIGHT)[0] > checks.LIMITS["physics"]


def test_what_one_sensor_sees_alone_counts_by_the_braking_it_wants() -> None:
    camera, lidar = np.array([FAR_M, 20.0, 20.0, 50.0, 12.0]), np.array([10.0, 22.0, 40.0, FAR_M, 0.1])
    found = checks.disagreement(camera, lidar, np.full(5, 10.0))
    assert np.allclose(found, [100 / 20, 0, 100 / 40, 0, 0])


def test_a_limit_is_exceeded_in_the_share_of_calm_drives_that_was_asked_for() -> None:
    calm = {"consistency": [float(k) for k in range(1, 40)], "input": [0.5] * 39}
    limits = limits_of({"calm": calm}, ("consistency",), 0.05)
    assert limits == {"consistency": 38.0}  # the 38th of 39: two of forty are above it, as 5 % says
    assert limits_of({}, ("consistency",), 0.05) == {}
    with pytest.raises(InputError, match="takes 99"):
        limits_of({"calm": calm}, ("input",), 0.01)
    for n in range(2, 40):  # what the refusal asks for instead is taken
        few = {"calm": {"input": [0.5] * n}}
        with pytest.raises(InputError, match="or more") as refused:
            limits_of(few, ("input",), 0.5 / (n + 1))
        assert limits_of(few, ("input",), float(str(refused.value).split("Ask for ")[1].split()[0]))


def test_guards_that_watch_calm_drives_read_what_they_would_doubt() -> None:
    """A limit just above the peak of a drive is not exceeded in that drive, one just below is."""
    net = Stixels(2).eval()
    (scenario,) = scenarios_of(("stopped_vehicle(speed_kmh=(50,), distance_m=(60,), aside_m=(0,), kind='van')",))
    found = peaks(net, [scenario], 0, 2.0)
    assert {guard: len(values) for guard, values in found.items()} == {"consistency": 1, "physics": 1, "input": 1}
    loose = Keeper(net, "both", ("input",), {"input": found["input"][0] * 1.01})
    tight = Keeper(net, "both", ("input",), {"input": found["input"][0] * 0.99})
    doubts = []
    for keeper in (loose, tight):
        stage = scenario.stage("train", seed_of(0, "calm", 0) >> 1)
        driver = driver_of(stage.world, keeper)
        for tick in range(20):
            controls = driver()
            controls[:, 1:] = stage.script(stage.world, tick * 0.1)
            stage.world.step(controls)
        assert driver.memory is not None
        doubts.append(int(keeper.doubted(driver.memory)["input"][0]))
    assert doubts[0] == 0
    assert doubts[1] > 0


def test_smoothing_is_the_median_and_leaves_plain_pictures_alone() -> None:
    images = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    assert checks.smoothed(images)[1, 2, 5, 6] == images[1, 2, 4:7, 5:8].flatten().sort().values[4]
    plain = torch.full((1, 3, 48, 96), 0.3)
    assert checks.unsteady(Stixels(4).eval(), plain)[0] < 1e-5


def test_bends_are_driven_at_two_metres_per_second_squared() -> None:
    radius = 50.0
    angle = np.array([0.0, 5, 10, 20, 40]) / radius
    path = np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle))], -1)[None]
    own = np.array([[12.0, 0, 0, 30.0]])
    caps = _as_seen(own, path)[0, 0, 7:22].reshape(5, 3)[:, 2]
    assert np.allclose(caps, np.sqrt(2.0 * radius), rtol=1e-4)
    assert _as_seen(own, STRAIGHT)[0, 0, 9] > 100


def test_the_stack_brakes_for_whom_its_lidar_hears_and_forgets_on_reset() -> None:
    world, _ = worlds_of(["rural(seed=0)"], [{"k": 0.0}], 0, actors=1)
    put(world, 0, 0, 0, 10.0, 15.0)
    put(world, 0, 1, 0, 45.0, 0.0)
    driver = SensorDriver(world, Keeper(Stixels(2).eval(), "lidar", ("physics",)))
    asked = [driver()[0, 0, 0] for _ in range(3)]
    assert asked[0] > -1
    assert asked[2] < -2
    assert driver.memory is not None
    assert driver.memory.any()
    driver.reset(np.array([True]))
    assert not driver.memory.any()
    world.state.alive[:, 1] = 0
    assert [driver()[0, 0, 0] for _ in range(3)][2] > -1


def test_stacks_refuse_what_they_cannot_be() -> None:
    model = Stixels(2)
    with pytest.raises(InputError, match="trust"):
        Keeper(model, "radar")
    with pytest.raises(InputError, match="consistency"):
        Keeper(model, "camera", ("consistent",))
    with pytest.raises(InputError, match="limits"):
        Keeper(model, limits={"input": -1.0})
    assert Keeper(model).rig.without == "lidar"
    assert Keeper(model, "both").rig.without is None

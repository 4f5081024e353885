"""What drivers through sensors are handed, and the truth from above."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.drive.birdseye import SIGNALS, Grid, truth
from stalwart.drive.dressing import Dressed
from stalwart.drive.observation import DRIVABLE
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.sensing import Acted, Moment, Perceived, Rig, Sensed, SensorDriver, together
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.faults import Blackout
from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.sensors.navigation import Navigation
from stalwart.drive.sensors.skins import default_look
from stalwart.drive.simulation import Worlds, make

EXACT = Navigation(0.0, 0.0, 200, 0.0, 0.0, 0.0, 0.0)
SMALL = Rig(Camera(16, 24), Lidar(4, 32), EXACT)


@pytest.fixture(scope="module")
def world() -> Worlds:
    made = make(["crossroads(seed=2)", "rural(seed=1, length_m=400)"], worlds=4, agents=16, walkers=2, seed=5)
    driver = Baseline(made, "expert")
    for _ in range(30):
        made.step(driver())
    return made


class Steady(nn.Module):
    """Drives by the mean of its picture, and counts steps in its memory."""

    def __init__(self, rig: Rig = SMALL) -> None:
        super().__init__()
        self.rig = rig
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        count = len(sensed.own)
        memory = torch.zeros(count, 1) if memory is None else memory
        controls = torch.stack([self.gain * sensed.camera.mean((1, 2, 3)), 0 * memory[:, 0]], 1)
        maps = torch.zeros(count, 2, 3)
        seen = Perceived(maps, maps, maps[:, None].repeat(1, 2, 1, 1), maps, torch.zeros(count, 6), torch.zeros(count))
        return Acted(controls, sensed.own[:, 4:].reshape(-1, 5, 2), seen), memory + 1


def test_an_exact_map_shows_the_route_as_it_is(world: Worlds) -> None:
    sensed, moment = SMALL.read(world, Dressed(world))
    vector = world.observe()[:, 0]
    route = vector[:, 7:22].reshape(4, 5, 3)[..., :2]
    np.testing.assert_allclose(sensed.own[:, 4:].numpy().reshape(4, 5, 2), route, atol=1e-4)
    np.testing.assert_allclose(sensed.own[:, [0, 1, 3]], vector[:, [0, 1, 6]], atol=1e-5)
    assert moment.scan is not None
    heard = sensed.lidar[:, 2] > 0
    np.testing.assert_array_equal(heard.numpy(), moment.scan.range_m > 0)
    np.testing.assert_array_equal(sensed.camera.mul(255).round().byte().numpy(), moment.frames.rgb)


def test_a_wrong_position_shifts_the_route(world: Worlds) -> None:
    """Where the GPS errs by a vector, the map's points move by its opposite, to where they are on the shifted way."""
    sensed, _ = replace(SMALL, navigation=Navigation(1.0, 0.0, 200, 0.0, 0.0, 0.0, 0.0)).read(world, Dressed(world))
    shown = sensed.own[:, 4:].numpy().reshape(4, 5, 2)
    vector = world.observe()[:, 0, 7:22].reshape(4, 5, 3)[..., :2]
    ahead = vector[:, 1] - vector[:, 0]
    left = np.stack([-ahead[:, 1], ahead[:, 0]], -1) / np.hypot(*ahead.T)[:, None]
    aside = ((shown - vector)[:, :2] * left[:, None]).sum(-1)  # the shift to the side, the same near the car
    assert np.abs(aside).max() > 0.2
    np.testing.assert_allclose(aside[:, 0], aside[:, 1], atol=0.12)  # bends turn it
    along = (shown[:, 0] * ahead).sum(-1)
    np.testing.assert_allclose(along, (vector[:, 0] * ahead).sum(-1), atol=0.5)  # and 0.1 m at most along the road


def test_truth_from_above_is_what_each_cell_holds(world: Worlds) -> None:
    """Against the same questions asked cell by cell in world coordinates."""
    grid = Grid(60.0, 60.0, 60.0, 0.5)
    found, s = truth(world, grid), world.state
    x, y, yaw = (a[:, 0].astype(np.float64) for a in (s.x_m, s.y_m, s.yaw_rad))
    raster, per = world.ground.raster, world.ground.metres_per_pixel
    wrong = np.zeros(2)
    for w in range(world.worlds):
        c, n = math.cos(yaw[w]), math.sin(yaw[w])
        east = x[w] + c * grid.middles[..., 0] - n * grid.middles[..., 1]
        north = y[w] + n * grid.middles[..., 0] + c * grid.middles[..., 1]
        m = int(s.words[w, 2])
        column = np.floor((east - world.ground.origin_m[m, 0]) / per).astype(int)
        row = np.floor((north - world.ground.origin_m[m, 1]) / per).astype(int)
        on_map = (row >= 0) & (column >= 0) & (row < raster.shape[1]) & (column < raster.shape[2])
        kinds = raster[m, np.clip(row, 0, raster.shape[1] - 1), np.clip(column, 0, raster.shape[2] - 1)]
        wrong[0] += (found.drivable[w] != (DRIVABLE[kinds] & on_map)).sum()
        held = np.zeros(east.shape, bool)
        for a in np.flatnonzero(s.alive[w]):
            if a == 0:
                continue
            turn = s.yaw_rad[w, a]
            dx, dy = east - s.x_m[w, a], north - s.y_m[w, a]
            deep = np.abs(dx * math.cos(turn) + dy * math.sin(turn)) <= s.length_m[w, a] / 2
            held |= deep & (np.abs(dy * math.cos(turn) - dx * math.sin(turn)) <= s.width_m[w, a] / 2)
        wrong[1] += (held & ~found.agents[w]).sum() + max(0, int((found.agents[w] & ~held).sum()) - 12)
    assert (wrong <= 3).all(), wrong  # a cell's middle on an edge, in float32
    assert found.agents.any()
    assert found.drivable.any()
    speed = np.hypot(found.velocity[:, 0], found.velocity[:, 1])
    assert set(np.unique(speed[found.agents].round(3))) <= set(np.unique(s.speed_mps.round(3)))
    assert not speed[~found.agents].any()


def test_route_and_signal_of_the_truth(world: Worlds) -> None:
    found, vector = truth(world, Grid()), world.observe()[:, 0]
    for w in range(world.worlds):
        near = vector[w, 7:22].reshape(5, 3)[1, :2]  # 5 m ahead on the route
        row, column = int(near[0] + 8), int(near[1] + 16)
        assert found.route[w, row, column]
        rules = vector[w, 23:28] > 0
        way = vector[w, 22]
        wanted = SIGNALS[1 + int(rules.argmax())] if rules.any() and way <= 40 else "none"
        assert SIGNALS[found.signal[w]] == wanted


@pytest.mark.parametrize("sides", [{"cell_m": 0.0}, {"ahead_m": 10.5}, {"aside_m": 0.0}])
def test_a_grid_has_whole_cells(sides: dict[str, float]) -> None:
    with pytest.raises(InputError, match="multiples of cell_m"):
        Grid(**sides)


def test_a_driver_drives_its_worlds_and_forgets(world: Worlds) -> None:
    driver = SensorDriver(world, Steady())
    controls = driver()
    assert driver.sensed is not None
    np.testing.assert_allclose(controls[:, 0, 0], 2 * driver.sensed.camera.mean((1, 2, 3)), rtol=1e-5)
    driver()
    assert driver.memory is not None
    assert driver.memory[:, 0].tolist() == [2, 2, 2, 2]
    driver.reset(np.array([True, False, False, True]))
    assert driver.memory[:, 0].tolist() == [0, 2, 2, 0]


def test_tampers_come_one_after_the_other_and_may_use_gradients(world: Worlds) -> None:
    policy, ticks = Steady(), []

    def up(sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        """A step along the gradient of the acceleration."""
        ticks.append(tick)
        watched = sensed.detached("camera")
        with torch.enable_grad():
            acted, _ = policy(watched, moment.memory)
            (slope,) = torch.autograd.grad(acted.controls[:, 0].sum(), watched.camera)
        return replace(sensed, camera=sensed.camera + 0.1 * slope.sign())

    def dark(sensed: Sensed, _: Moment, __: int) -> Sensed:
        return replace(sensed, camera=0 * sensed.camera)

    clean = SensorDriver(world, policy)()
    np.testing.assert_allclose(SensorDriver(world, policy, tamper=up)()[..., 0], clean[..., 0] + 0.2, atol=1e-4)
    driver = SensorDriver(world, policy, tamper=together(dark, up))
    np.testing.assert_allclose(driver()[..., 0], 0.2, atol=1e-5)
    driver()
    assert ticks == [0, 0, 1]
    same = SensorDriver(world, policy, tamper=lambda sensed, moment, tick: sensed)()
    np.testing.assert_array_equal(same, clean)


def test_faults_and_missing_sensors(world: Worlds) -> None:
    dressed = Dressed(world)
    dark, _ = replace(SMALL, faults=(Blackout(1.0),)).read(world, dressed)
    assert not dark.camera.any()
    blind, _ = replace(SMALL, without="camera").read(world, dressed)
    deaf, _ = replace(SMALL, without="lidar").read(world, dressed)
    whole, _ = SMALL.read(world, dressed)
    assert not blind.camera.any()
    assert torch.equal(blind.lidar, whole.lidar)
    assert not deaf.lidar.any()
    assert torch.equal(deaf.camera, whole.camera)


def test_what_is_sensed_follows_a_texture(world: Worlds) -> None:
    textures = default_look().textures
    patch = textures.bank[textures.index("asphalt"), :3].float() / 255
    patch.requires_grad_()
    sensed, _ = SMALL.read(world, Dressed(world), textures={"asphalt": patch})
    sensed.camera.sum().backward()
    assert patch.grad is not None
    assert float(patch.grad.abs().sum()) > 0

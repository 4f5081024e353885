"""The driver through sensors: its views of the ground, its planner, and that gradients reach all that is sensed."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.drive.birdseye import SIGNALS, Grid
from stalwart.drive.planners.pursuit import desired_mps, idm, pursue
from stalwart.drive.sensing import Perceived, Sensed
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.simulation import make
from stalwart.drive.stack.apart import Alone, Apart
from stalwart.models._driver_net import DriverNet
from stalwart.models._driver_plan import desired, followed, planned, pursued
from stalwart.models._driver_views import Glances, Onto, Pillars, near_route, warped

GRID = Grid()


def sensed(count: int = 3, seed: int = 0) -> Sensed:
    g = torch.Generator().manual_seed(seed)
    echoes = torch.rand(count, 3, 16, 256, generator=g)
    echoes[:, 2] = 1.0
    own = torch.tensor([8.0, 0.0, 0.0, 13.9, 0, 0, 5, 0, 10, 0.2, 20, 0.5, 40, 1.0]).repeat(count, 1)
    return Sensed(torch.rand(count, 3, 64, 96, generator=g), echoes, own)


@pytest.fixture(scope="module")
def net() -> DriverNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made: DriverNet = catalog.make("driver()", "models").build(Signature(6, 3, (64, 96), "driving"))
        for parameter in made.parameters():
            if not parameter.any():  # layers that begin at 0 let no gradient through
                torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


def test_what_it_does_can_be_differentiated_in_all_it_senses(net: DriverNet) -> None:
    watched = sensed().detached("camera", "lidar", "own")
    acted, memory = net(watched)
    acted, memory = net(watched, memory)
    assert acted.controls.shape == (3, 2)
    assert acted.perceived.agents.shape == (3, GRID.rows, GRID.columns)
    assert memory.shape == (3, net.remembered)
    slopes = torch.autograd.grad(acted.controls.sum() + acted.perceived.agents.mean(), [
        watched.camera, watched.lidar, watched.own,
    ])  # fmt: skip
    for slope in slopes:
        assert slope.isfinite().all()
        assert (slope.flatten(1).abs().amax(1) > 0).all()


def test_whatever_was_learned_it_keeps_to_the_limit(net: DriverNet) -> None:
    eager = copy.deepcopy(net)
    torch.nn.init.constant_(eager.accel[-1].bias, 50.0)
    given = sensed(4)
    given.own[:, 0] = torch.tensor([5.0, 13.0, 13.9, 40.0])
    accel = eager(given)[0].controls[:, 0]
    assert accel.tolist() == pytest.approx([3.0, 0.9, 0.0, -2.0], abs=1e-5)
    braking = copy.deepcopy(net)
    torch.nn.init.constant_(braking.accel[-1].bias, -50.0)
    assert (braking(given)[0].controls[:, 0] < -5).all()


def test_worlds_do_not_meet_and_memory_of_zeros_is_a_fresh_one(net: DriverNet) -> None:
    many = sensed(4)
    with torch.no_grad():
        together, memory = net(many)
        alone, _ = net(many.select(slice(2, 3)), torch.zeros(1, net.remembered))
    torch.testing.assert_close(alone.controls, together.controls[2:3], atol=1e-4, rtol=1e-4)
    assert memory.abs().sum() > 0


def test_a_missing_sensor_leaves_nothing_of_itself(net: DriverNet) -> None:
    """Without a camera its network's answer to black pixels does not count."""
    one = sensed(1)
    blind = Sensed(torch.zeros_like(one.camera), one.lidar, one.own)
    with torch.no_grad():
        before, _ = net(blind)
        bias = net.broad.bias
        assert bias is not None
        kept = bias.clone()
        bias += 3.0
        after, _ = net(blind)
        changed, _ = net(one)
        bias.copy_(kept)
        whole, _ = net(one)
    torch.testing.assert_close(before.controls, after.controls)
    assert not torch.allclose(changed.perceived.agents, whole.perceived.agents)


@pytest.mark.parametrize("height_m", [0.0, 1.0])
def test_a_cell_is_seen_where_the_camera_projects_it(height_m: float) -> None:
    """A picture of its own row and column numbers, sampled, gives the projection."""
    camera = Camera(64, 96, 80.0)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    found = Onto(camera, GRID, height_m)(torch.stack([rows, columns])[None])[0]
    middles = GRID.middles.astype(np.float64)
    row, column, depth = camera.project(middles[..., 0], middles[..., 1], np.full(middles.shape[:2], height_m))
    inner = (depth > 0.5) & (row > 0) & (row < 63) & (column > 0) & (column < 95)
    assert inner.sum() > 200
    np.testing.assert_allclose(found[0].numpy()[inner], row[inner], atol=2e-3)
    np.testing.assert_allclose(found[1].numpy()[inner], column[inner], atol=2e-3)
    assert not found[:, torch.from_numpy(depth <= 0.5)].any()


def test_pillars_show_a_wall_where_it_stands() -> None:
    """A wall 15.2 m ahead: evidence of bodies in its cells, more than in any cell nearer or farther."""
    lidar = Lidar()
    points = lidar.points(np.ones((16, 256), np.float32))
    way = 15.2 / np.maximum(points[..., 0] - lidar.x_m, 1e-6)
    height = lidar.z_m + way * (points[..., 2] - lidar.z_m)
    aside = way * points[..., 1]
    hit = (points[..., 0] > 0) & (height > 0.2) & (height < 2.5) & (np.abs(aside) < 4)
    echoes = torch.from_numpy(np.stack([np.where(hit, way / lidar.greatest_m, 0), 0.5 * hit, hit], 0)[None]).float()
    grid = Grid(cell_m=2.0)
    found = Pillars(lidar, grid)(echoes)[0]
    row, columns = int((15.2 + 8) / 2), [7, 8]
    assert (found[0, :, columns].argmax(0) == row).all()
    assert (found[3, row, columns] < found[3, row - 1, columns]).all()  # seen from a nearer cell it lies beyond


def test_memory_moves_with_the_driver() -> None:
    """A spot 10 m ahead is 6 m ahead after 4 m; after a quarter turn to the left it lies to the right."""
    grid = Grid(cell_m=2.0)
    maps = torch.zeros(1, 1, grid.rows, grid.columns)
    maps[0, 0, 9, 8] = 1.0  # 11 m ahead, 1 m to the left
    gone = warped(maps, grid, torch.tensor([4.0]), torch.tensor([0.0]))
    assert gone[0, 0, 7, 8] == pytest.approx(1.0, abs=1e-4)
    turned = warped(maps, grid, torch.tensor([0.0]), torch.tensor([math.pi / 2]))
    ahead, left = 1, -11
    assert turned[0, 0, (ahead + 7) // 2, (left + 15) // 2] == pytest.approx(1.0, abs=1e-4)


def test_nearness_to_the_route_is_by_the_nearest_point_of_its_line() -> None:
    points = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [20.0, 10.0]]])
    found = near_route(points, GRID, 1.5)[0].numpy()
    line = np.concatenate([
        np.stack([np.linspace(0, 10, 2001), np.zeros(2001)], 1), np.stack([np.linspace(10, 20, 2001)] * 2, 1) - [0, 10],
    ])  # fmt: skip
    away = np.linalg.norm(GRID.middles[:, :, None] - line, axis=-1).min(-1)
    np.testing.assert_allclose(found, np.exp(-((away / 1.5) ** 2)), atol=2e-3)


def test_the_planner_is_the_baselines_one() -> None:
    """Pursuit and the intelligent driver model as NumPy's planners have them; bends to a metre per second or two."""
    world = make(["town(seed=1, blocks=2)", "rural(seed=3)"], worlds=16, agents=4, walkers=0)
    seen = world.observe()
    points = torch.from_numpy(seen[:, 0, 7:22].reshape(16, 5, 3)[..., :2].copy())
    speed, limit = (torch.from_numpy(seen[:, 0, k].copy()) for k in (0, 6))
    np.testing.assert_allclose(pursued(points, speed), pursue(seen)[:, 0], atol=1e-5)
    np.testing.assert_allclose(desired(points, limit), desired_mps(seen)[:, 0], atol=2.5)
    v, wish, gap, leader = (torch.tensor(x) for x in ([5.0, 10, 14], [10.0, 12, 14], [5.0, 20, 60], [0.0, 8, 14]))
    np.testing.assert_allclose(
        followed(v, wish, gap, leader), idm(*(x.numpy() for x in (v, wish, gap, leader))), rtol=1e-5
    )


def perceived(agents: dict[tuple[int, int], float], velocity: float = 0.0, signal: str = "none") -> Perceived:
    maps = torch.full((1, GRID.rows, GRID.columns), -20.0)
    for (row, column), logit in agents.items():
        maps[0, row, column] = logit
    shown = torch.full((1, len(SIGNALS)), -20.0)
    shown[0, SIGNALS.index(signal)] = 20.0
    return Perceived(
        maps, maps, torch.full((1, 2, GRID.rows, GRID.columns), velocity), maps, shown, torch.tensor([12.0])
    )


@pytest.mark.parametrize(
    ("chance", "signal"), [(0.0, "none"), (1.0, "none"), (0.3, "none"), (0.0, "red"), (0.0, "green")]
)
def test_the_expected_acceleration_by_hand(chance: float, signal: str) -> None:
    straight = torch.tensor([[[0.0, 0.5], [5, 0.5], [10, 0.5], [20, 0.5], [40, 0.5]]])
    speed, limit = torch.tensor([8.0]), torch.tensor([13.9])
    logit = math.log(chance / (1 - chance)) if 0 < chance < 1 else 40.0 * (chance - 0.5)
    seen = perceived({(28, 16): logit}, velocity=3.0, signal=signal)  # its cell is 20 to 21 m ahead
    found = float(planned(seen, straight, speed, limit, GRID))
    alone = float(idm(np.array(8.0), np.array(13.9), np.array(1e6), np.array(0.0)))
    behind = float(idm(np.array(8.0), np.array(13.9), np.array(20 - 2.25), np.array(3.0)))
    wanted = chance * behind + (1 - chance) * alone
    if signal == "red":
        wanted = float(idm(np.array(8.0), np.array(13.9), np.array(13.5), np.array(0.0)))
    assert found == pytest.approx(wanted, abs=0.05)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="multiples of 8"):
        catalog.make("driver(height=60)", "models")


def test_a_glance_finds_a_spot_wherever_it_is() -> None:
    """Scores far above all others make the softmax a choice: what is there, and where it is."""
    glances = Glances(2, 1, 8, 12)
    with torch.no_grad():
        glances.looks.weight.copy_(torch.tensor([50.0, 0.0])[None, :, None])
        glances.looks.bias.zero_()  # type: ignore[union-attr]
        glances.prior.weight.zero_()
    for row, column in ((0, 0), (5, 7), (7, 11)):
        features = torch.zeros(1, 2, 8, 12)
        features[0, :, row, column] = torch.tensor([1.0, 3.0])
        found = glances(features)[0]
        assert found[:2].tolist() == pytest.approx([1.0, 3.0], abs=1e-4)
        assert found[2:4].tolist() == pytest.approx([2 * row / 7 - 1, 2 * column / 11 - 1], abs=1e-4)
        assert found[4].item() == pytest.approx(50 / 5, abs=1e-4)


def test_the_most_careful_of_three_opinions_is_followed_and_each_remembers_for_itself(net: DriverNet) -> None:
    one = sensed(2)
    apart = Apart(net).eval()
    blind, deaf = replace(one, camera=0 * one.camera), replace(one, lidar=0 * one.lidar)
    with torch.no_grad():
        memory, each = None, [None, None, None]
        for _ in range(2):
            acted, memory = apart(one, memory)
            told = [net(view, held) for view, held in zip((one, blind, deaf), each, strict=True)]
            each = [held for _, held in told]
        alone, _ = Alone(net, "camera")(blind)
    accels = torch.stack([opinion.controls[:, 0] for opinion, _ in told])
    torch.testing.assert_close(acted.controls[:, 0], accels.amin(0))
    torch.testing.assert_close(acted.controls[:, 1], told[0][0].controls[:, 1])
    agents = torch.stack([opinion.perceived.agents for opinion, _ in told]).amax(0)
    torch.testing.assert_close(acted.perceived.agents, agents)
    torch.testing.assert_close(alone.controls, net(blind)[0].controls)
    assert Alone(net, "camera").rig.without == "camera"
    with pytest.raises(InputError, match="without lidar"):
        Apart(Alone(net, "lidar"))

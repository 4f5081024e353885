"""The driver's second camera: it sees the heads that rule, and what it tells is what the driver stops by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.drive.birdseye import FARTHEST_M, SIGNALS, Grid
from stalwart.drive.dressing import Dressed
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensing import Perceived, Rig, Sensed, joined
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.sensors.skins import default_look
from stalwart.drive.simulation import Worlds, make
from stalwart.drive.stack.apart import Apart
from stalwart.models._driver_lookout import CAMERA, Lookout
from stalwart.models._driver_net import DriverNet
from stalwart.models._driver_plan import planned, remembered

GRID = Grid()
RED, GREEN = SIGNALS.index("red"), SIGNALS.index("green")


@pytest.fixture(scope="module")
def net() -> DriverNet:
    model = "driver(height=32, width=48, channels=4, azimuths=64, features=4, memory=2, lookout=True)"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made: DriverNet = catalog.make(model, "models").build(Signature(6, 3, (32, 48), "driving"))
        assert made.lookout is not None
        for layer in (made.lookout.tell[2], made.accel[2]):
            torch.nn.init.normal_(layer.weight, std=0.3)  # type: ignore[arg-type]
    return made.eval()


@pytest.fixture(scope="module")
def world() -> Worlds:
    return make("crossroads(seed=2, control='signals')", worlds=24, agents=1, walkers=0, seed=4, style="sun")


def test_the_ruling_head_is_in_the_picture_in_its_colour(world: Worlds) -> None:
    """Where the projection puts the middle of the nearest head that faces the driver, the picture shows a head, and its
    brightest lens is red or green as the rule at the line says."""
    dressed, driver, looked = Dressed(world), Baseline(world, "lane"), {"green": 0, "red": 0}
    for tick in range(60):
        if tick % 15 == 0:
            for colour, lens in heads(world, dressed.scene()):
                red, green = (lens[0] - lens[1]).max(), (lens[1] - lens[0]).max()
                assert (green > red) == (colour == "green")
                looked[colour] += 1
        world.step(driver())
    assert min(looked.values()) >= 2


def heads(world: Worlds, scene: Scene) -> list[tuple[str, NDArray[np.int64]]]:
    """What rules and the colours (3, n) of the ruling head's pixels, for drivers 8 to 25 m before a red or green light,
    where nothing hides it."""
    frames, vector, found = see(scene, CAMERA), world.observe()[:, 0], []
    for w in range(world.worlds):
        way, green, red = vector[w, 22], vector[w, 23], vector[w, 25]
        if not 8 < way < 25 or not green + red:
            continue
        x, y, yaw = (float(part[w, 0]) for part in (scene.x_m, scene.y_m, scene.yaw_rad))
        heads = (scene.kind[w] == Class.SIGNAL) & scene.alive[w].astype(bool) & (np.cos(scene.yaw_rad[w] - yaw) < -0.8)
        dx, dy = scene.x_m[w, heads] - x, scene.y_m[w, heads] - y
        ahead, left = dx * np.cos(yaw) + dy * np.sin(yaw), dy * np.cos(yaw) - dx * np.sin(yaw)
        near = int(np.where(ahead > 0, ahead, 1e3).argmin())
        row, column, _ = CAMERA.project(ahead[near], left[near], np.array(3.15))
        r, c = round(float(row)), round(float(column))
        assert 0 <= r < CAMERA.height
        assert 0 <= c < CAMERA.width
        around = np.s_[max(r - 6, 0) : r + 7, max(c - 3, 0) : c + 4]
        seen = frames.kind[w][around] == Class.SIGNAL
        if seen.any():
            found.append(("green" if green else "red", frames.rgb[w].astype(np.int64)[:, *around][:, seen]))
    return found


def test_what_it_tells_hangs_on_no_place_but_on_looks() -> None:
    """A picture moved by whole strides gives the same greatest features."""
    lookout = Lookout(CAMERA, 4).eval()
    picture = torch.full((1, 3, 64, 128), 0.45)
    picture[:, 0, 24:28, 40:44] = 1.0
    moved = picture.roll((8, 24), (2, 3))
    one, other = (lookout.features((p - 0.45) / 0.25).amax((2, 3)) for p in (picture, moved))
    torch.testing.assert_close(one, other)
    assert one.max() > one.min()


def test_what_the_driver_does_hangs_on_its_second_camera(net: DriverNet) -> None:
    g = torch.Generator().manual_seed(0)
    own = torch.tensor([8.0, 0.0, 0.0, 13.9, 0, 0, 5, 0, 10, 0.2, 20, 0.5, 40, 1.0]).repeat(2, 1)
    whole = Sensed(
        torch.rand(2, 3, 32, 48, generator=g), torch.rand(2, 3, 4, 64, generator=g), own,
        torch.rand(2, 3, 64, 128, generator=g),
    ).detached("lookout")  # fmt: skip
    acted, memory = net(whole)
    assert memory.shape == (2, net.remembered)
    acted, memory = net(whole, memory)
    assert whole.lookout is not None
    (slope,) = torch.autograd.grad(acted.controls[:, 0].sum(), whole.lookout)
    assert (slope.flatten(1).abs().amax(1) > 0).all()
    with torch.no_grad():
        without, _ = net(replace(whole, lookout=None))
        black, _ = net(replace(whole, lookout=torch.zeros_like(whole.lookout)))
        apart, _ = Apart(net).eval()(whole)
        blind, _ = net(replace(whole, camera=0 * whole.camera, lookout=0 * whole.lookout))
    torch.testing.assert_close(without.controls, black.controls)
    assert (apart.controls[:, 0] <= blind.controls[:, 0] + 1e-6).all()


def test_a_rig_reads_its_second_camera_or_leaves_both_out(world: Worlds) -> None:
    rig = Rig(Camera(16, 24), Lidar(4, 32), lookout=Camera(8, 16, 40.0, yaw_deg=-20.0))
    dressed = Dressed(world)
    sensed, _ = rig.read(world, dressed)
    assert sensed.lookout is not None
    wanted = see(dressed.scene(), Camera(8, 16, 40.0, yaw_deg=-20.0)).rgb
    np.testing.assert_array_equal((sensed.lookout * 255).round().byte().numpy(), wanted)
    some = joined([sensed.select([0, 3]), sensed.select([1])])
    assert some.lookout is not None
    torch.testing.assert_close(some.lookout, sensed.lookout[[0, 3, 1]])
    blind, _ = replace(rig, without="camera").read(world, dressed)
    assert blind.lookout is not None
    assert not blind.lookout.any()
    bank = default_look().textures
    sky = [f"sky_sun_{k}" for k in range(8)]
    painted_sky = {name: bank.bank[bank.index(name)].detach().clone().requires_grad_() for name in sky}
    painted, _ = rig.read(world, dressed, textures=painted_sky)
    assert painted.lookout is not None
    slopes = torch.autograd.grad(painted.lookout.sum(), list(painted_sky.values()))
    assert sum(float(slope.abs().sum()) for slope in slopes) > 0
    assert Rig().read(world, dressed)[0].lookout is None


def perceived(signal: str, line_m: float) -> Perceived:
    empty = torch.full((1, GRID.rows, GRID.columns), -20.0)
    shown = torch.full((1, len(SIGNALS)), -20.0)
    shown[0, SIGNALS.index(signal)] = 20.0
    return Perceived(empty, empty, torch.zeros(1, 2, GRID.rows, GRID.columns), empty, shown, torch.tensor([line_m]))


@pytest.mark.parametrize(
    ("signal", "line_m", "stood", "stops"),
    [
        ("stop", 12.0, 0.0, True), ("stop", 12.0, 0.9, False), ("red", 12.0, 0.9, True), ("green", 12.0, 0.0, False),
        ("yellow", 25.0, 0.0, True), ("yellow", 3.0, 0.0, False), ("yield", 12.0, 0.0, False),
    ],
)  # fmt: skip
def test_it_stops_for_what_rules_once_at_a_sign_and_for_yellow_where_it_can(
    signal: str, line_m: float, stood: float, stops: bool
) -> None:
    straight = torch.tensor([[[0.0, 0.0], [5, 0], [10, 0], [20, 0], [40, 0]]])
    speed, limit = torch.tensor([9.0]), torch.tensor([13.9])
    found = float(planned(perceived(signal, line_m), straight, speed, limit, GRID, torch.tensor([[stood, 0.0, 0.0]])))
    alone = 1.5 * (1 - (9 / 13.9) ** 4)
    assert (found < alone - 0.5) == stops
    if not stops:
        assert found == pytest.approx(alone, abs=0.02)


def test_standing_at_a_sign_is_remembered_for_some_seconds() -> None:
    at_it, away = perceived("stop", 2.0), perceived("none", FARTHEST_M)
    kept = remembered(torch.zeros(1, 3), at_it, torch.tensor([5.0]))
    assert float(kept[0, 0]) == 0.0
    kept = remembered(kept, at_it, torch.tensor([0.1]))
    assert kept[0].tolist() == [1.0, 0.0, 0.0]
    for _ in range(40):
        kept = remembered(kept, away, torch.tensor([4.0]))
    assert float(kept[0, 0]) == pytest.approx(0.97**40, rel=1e-4)
    assert float(remembered(torch.zeros(1, 3), perceived("stop", 20.0), torch.tensor([0.1]))[0, 0]) == 0.0


def test_a_sign_that_leaves_the_picture_is_stopped_at_unless_one_picture_alone_had_it() -> None:
    """Seen for half a second, 11 m away, then no more: by its own speed it knows how far it is."""
    straight = torch.tensor([[[0.0, 0.0], [5, 0], [10, 0], [20, 0], [40, 0]]])
    limit, nothing = torch.tensor([13.9]), perceived("none", FARTHEST_M)

    def drive(pictures: int) -> float:
        """How far it comes from 5 m/s in four seconds."""
        kept, speed, way = torch.zeros(1, 3), torch.tensor([5.0]), 0.0
        for tick in range(40):
            seen = perceived("stop", 11.0 - 5 * 0.1 * tick) if tick < pictures else nothing
            kept = remembered(kept, seen, speed)
            speed = (speed + 0.1 * planned(seen, straight, speed, limit, GRID, kept)).clamp(min=0.0)
            way += 0.1 * float(speed)
            if float(kept[0, 0]) == 1.0:
                break
        return way

    assert drive(6) < 10.0
    assert drive(1) > 20.0


def test_an_odd_size_is_refused_as_ever() -> None:
    with pytest.raises(InputError, match="multiples of 8"):
        catalog.make("driver(height=60, lookout=True)", "models")

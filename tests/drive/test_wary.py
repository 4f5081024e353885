"""The guard that drives by what its LiDAR hears: silent channels against a count ray by ray, braking against its closed
form, weather and bodies that are no reason to doubt, phantoms that the policy never gets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.drive.adversaries.echoes import phantom
from stalwart.drive.planners.pursuit import CAR
from stalwart.drive.scene import Class, Ground, Scene
from stalwart.drive.sensing import Acted, Rig, Sensed, _echoes
from stalwart.drive.sensors.lidar import Lidar, scan
from stalwart.drive.sensors.skins import skin
from stalwart.drive.stack.apart import Alone
from stalwart.drive.stack.wary import Wary, unheard

LIDAR = Lidar()
STRAIGHT = np.array([[[0.0, 0], [5, 0], [10, 0], [20, 0], [40, 0]]])
RINGS = sorted(LIDAR.z_m / -slope for slope in LIDAR.fan.slopes.astype(float) if slope < 0)
"""Where channels meet the ground, the nearest first."""


def heard(car_m: float = 200.0) -> np.ndarray:  # type: ignore[type-arg]
    """Echoes (1, 3, C, A) on an asphalt road between meadows, a car ahead."""
    raster = np.full((1, 400, 800), Class.TERRAIN, np.uint8)
    raster[:, 185:215] = Class.ROAD
    scene = Scene.empty(1, 2, Ground(raster, 0.25, np.array([[-50, -50]], np.float32)))
    scene.length_m[:], scene.width_m[:], scene.height_m[:] = 4.5, 1.8, 1.5
    scene.x_m[:, 1] = car_m + 2.25
    scene.kind[:], scene.skin[:], scene.alive[:] = Class.CAR, skin("car"), True
    found: np.ndarray = _echoes(scan(scene, LIDAR), LIDAR).numpy()  # type: ignore[type-arg]
    return found


def hushed(echoes: np.ndarray, half_deg: float, from_m: float = 0.0) -> np.ndarray:  # type: ignore[type-arg]
    """Without the rays within so many degrees of straight ahead that meet the ground from so far on, or never."""
    found = echoes.copy()
    for c, slope in enumerate(LIDAR.fan.slopes.astype(float)):
        if slope >= 0 or LIDAR.z_m / -slope >= from_m:
            found[:, :, c, np.abs(LIDAR.fan.azimuths) <= math.radians(half_deg)] = 0
    return found


@pytest.mark.parametrize("half_deg", [1.0, 3.0, 5.0, 8.0])
def test_silent_channels_are_those_of_a_count_ray_by_ray(half_deg: float) -> None:
    echoes = hushed(heard(), half_deg)
    shares = []
    for ring in (ring for ring in RINGS if ring < 28):
        way = [a for a in LIDAR.fan.azimuths if abs(ring * math.sin(a)) < 1.15 and ring * math.cos(a) > 2]
        shares.append(sum(abs(a) <= math.radians(half_deg) for a in way) / len(way))
    silent = [k for k, share in enumerate(shares) if share > 0.5]
    wanted = np.inf if not silent else 0.0 if silent[0] == 0 else RINGS[silent[0] - 1]
    share, known = unheard(echoes, LIDAR, STRAIGHT)
    assert share[0] == pytest.approx(max(shares), abs=0.02)  # an echo or two are lost for no reason
    assert known[0] == pytest.approx(wanted, rel=1e-6)
    assert len(shares) == 11


@pytest.mark.parametrize("car_m", [200.0, 25.0, 8.0])
def test_what_answers_from_body_or_ground_is_no_reason_to_doubt(car_m: float) -> None:
    share, known = unheard(heard(car_m), LIDAR, STRAIGHT)
    assert share[0] < 0.35
    assert np.isinf(known).all()


def test_far_ground_is_missed_only_while_it_answers_loudly_beside_the_way() -> None:
    clear = heard()
    gone = hushed(clear, 4.0, from_m=25.0)
    assert unheard(gone, LIDAR, STRAIGHT)[1][0] == pytest.approx(RINGS[9], rel=1e-6)
    fog = clear.copy()
    fog[:, 1] *= 0.6
    assert np.isinf(unheard(hushed(fog, 4.0, from_m=25.0), LIDAR, STRAIGHT)[1]).all()
    assert np.isinf(unheard(hushed(clear, 180.0, from_m=17.0), LIDAR, STRAIGHT)[1]).all()
    near = unheard(hushed(fog, 7.0, from_m=12.0), LIDAR, STRAIGHT)[1][0]
    assert near == pytest.approx(max(ring for ring in RINGS if ring < 12), rel=1e-6)


class Forward(nn.Module):
    """Accelerates with 2 m/s² whatever it senses, and counts its steps."""

    rig = Rig()

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        self.got = sensed
        count = torch.zeros(1, 1) if memory is None else memory
        nothing: Any = None
        return Acted(torch.tensor([[2.0, 0.1]]), nothing, nothing), count + 1


def sensed(echoes: np.ndarray, speed: float) -> Sensed:  # type: ignore[type-arg]
    own = torch.tensor([[speed, 0, 0, 13.9, *STRAIGHT.reshape(-1)]]).float()
    return Sensed(torch.zeros(1, 3, 4, 4), torch.from_numpy(echoes), own)


def test_it_goes_no_faster_than_it_can_stop_before_what_is_unheard() -> None:
    wary, memory = Wary(Forward()), None
    gone = hushed(heard(), 5.0)
    known = float(unheard(gone, LIDAR, STRAIGHT)[1][0])
    room = known - CAR.length_m / 2 - 1
    told = []
    for speed in (12.0, 12.0, 4.0, 1.0, 30.0):
        acted, memory = wary(sensed(gone, speed), memory)
        told.append(float(acted.controls[0, 0]))
        assert acted.controls[0, 1] == pytest.approx(0.1)
    wanted = [min(2.0, max(3 - v * v / (2 * room), -9.0)) for v in (12.0, 4.0, 1.0, 30.0)]
    assert told == pytest.approx([2.0, *wanted], abs=1e-4)  # one step alone is no doubt
    assert memory is not None
    assert wary.doubted(memory)["physics"].tolist() == [4]
    assert wary.scored(memory)["physics"][0] > 0.9
    acted, memory = wary(sensed(heard(), 12.0), memory)
    assert acted.controls[0, 0] == 2
    assert wary.doubted(memory)["physics"].tolist() == [4]
    assert memory[0, 0] == 6
    with pytest.raises(InputError, match="needs a LiDAR"):
        Wary(Alone(Forward(), "lidar"))
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        Wary(Forward(), 1.5)


def test_the_policy_gets_bodies_and_no_phantoms() -> None:
    policy = Forward()
    wary, body = Wary(policy), heard(12.0)
    wary(sensed(body, 5.0))
    np.testing.assert_array_equal(policy.got.lidar.numpy(), body)
    clear = heard()
    range_m = clear[:, 0].astype(float) * LIDAR.greatest_m
    spoofed = phantom(range_m, LIDAR, 8.0, 4, 10.0)
    clear[:, 0] = spoofed / LIDAR.greatest_m
    put = (spoofed != range_m) & (spoofed > 0)
    wary(sensed(clear, 5.0))
    assert put.sum() == 4
    assert not policy.got.lidar.numpy()[:, :, put[0]].any()

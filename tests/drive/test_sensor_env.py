"""Gymnasium's environments through sensors, against what the sensors say by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from stalwart.core.errors import InputError
from stalwart.drive.dressing import Dressed
from stalwart.drive.env import DriveEnv, DriveVectorEnv
from stalwart.drive.sensor_env import SensorEnv, SensorVectorEnv
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.lidar import Lidar, scan

ROADS = "rural(seed=1)"
SENSORS = {"front": Camera(height=16, width=24), "roof": Lidar(channels=4, azimuths=32)}


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_it_passes_gymnasiums_own_checker_and_sees_what_the_sensors_see() -> None:
    env = SensorEnv(DriveEnv(ROADS, agents=4, walkers=0), SENSORS, vector=True)
    check_env(env, skip_render_check=True)
    env.reset(seed=3)
    seen, *_ = env.step(np.array([0.2, 0.0], np.float32))
    scene = Dressed(env._drive.world, ["sun"]).scene()
    np.testing.assert_array_equal(seen["front"], see(scene, SENSORS["front"]).rgb[0])
    np.testing.assert_array_equal(seen["roof"], scan(scene, SENSORS["roof"]).range_m[0])
    assert sorted(seen) == ["front", "roof", "vector"]
    assert env.observation_space.contains(seen)


def test_many_see_each_its_own_world() -> None:
    alone = SensorEnv(DriveEnv(ROADS, agents=4, walkers=0, first=2), SENSORS, style="night")
    many = SensorVectorEnv(DriveVectorEnv(ROADS, 3, agents=4, walkers=0), SENSORS, style="night")
    seen, _ = many.reset(seed=5)
    own, _ = alone.reset(seed=5)
    assert many.observation_space.contains(seen)
    np.testing.assert_array_equal(seen["front"][2], own["front"])
    assert (seen["front"][0] != seen["front"][1]).any()


def test_sensors_are_named_and_a_world_has_one_learner() -> None:
    with pytest.raises(InputError, match="expected names"):
        SensorEnv(DriveEnv(ROADS, agents=2, walkers=0), {})
    for wrong in ({"front": "camera"}, {1: SENSORS["front"], "vector": SENSORS["front"]}):
        with pytest.raises(InputError, match="expected names"):
            SensorEnv(DriveEnv(ROADS, agents=2, walkers=0), wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="style must be one of"):
        SensorEnv(DriveEnv(ROADS, agents=2, walkers=0), SENSORS, style="nope")
    with pytest.raises(InputError, match="one learner"):
        SensorVectorEnv(DriveVectorEnv(ROADS, 4, agents=4, walkers=0, learners=2), SENSORS)

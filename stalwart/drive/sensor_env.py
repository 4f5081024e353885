"""The Gymnasium environments seen through sensors: observations by a list of named cameras and LiDARs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.dressing import Dressed
from stalwart.drive.env import DriveEnv, DriveVectorEnv
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.lidar import Lidar, scan
from stalwart.drive.sensors.styles import style as style_index
from stalwart.drive.simulation import Worlds

Sensors = Mapping[str, Camera | Lidar]
Seen = dict[str, NDArray[Any]]
VECTOR = "vector"
"""The name of the privileged vector among the observations."""


class _Eyes:
    """Named sensors of the first driver of each world."""

    def __init__(self, sensors: Sensors, vector: Box | None, style: str) -> None:
        wrong = [
            name for name, one in sensors.items() if not isinstance(name, str) or not isinstance(one, Camera | Lidar)
        ]
        if not sensors or VECTOR in sensors or wrong:
            raise InputError(f"sensors: expected names, none of them {VECTOR!r}, to Camera or Lidar. "
                             f"Got {dict(sensors)!r}.")  # fmt: skip
        style_index(style)  # refuses an unknown one
        self.sensors, self.keeps, self.style = dict(sensors), vector is not None, style
        spaces: dict[str, gymnasium.Space[Any]] = {} if vector is None else {VECTOR: vector}
        for name, sensor in self.sensors.items():
            if isinstance(sensor, Camera):
                spaces[name] = Box(0, 255, (3, sensor.height, sensor.width), np.uint8)
            else:
                spaces[name] = Box(0.0, 1.1 * sensor.greatest_m, (sensor.channels, sensor.azimuths), np.float32)
        self.space = Dict(spaces)
        self._dressed: Dressed | None = None

    def read(self, world: Worlds, vector: NDArray[np.float32]) -> Seen:
        """Everything of all worlds, (W, ...) each."""
        if self._dressed is None or self._dressed.world is not world:  # a seed makes new worlds
            self._dressed = Dressed(world, [self.style])
        scene = self._dressed.scene()
        out: Seen = {VECTOR: vector} if self.keeps else {}
        for name, sensor in self.sensors.items():
            out[name] = see(scene, sensor).rgb if isinstance(sensor, Camera) else scan(scene, sensor).range_m
        return out


class SensorEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """``SensorEnv(DriveEnv("rural(seed=1)"), {"front": Camera(), "roof": Lidar()})``: observations by name.

    A camera gives (3, height, width) uint8, a LiDAR the ranges (channels, azimuths) in m, 0 where nothing is heard.

    Args:
        vector: whether the privileged vector is among them, under the name 'vector'.
        style: weather and light.

    Raises:
        InputError: no sensors, one called 'vector', or an unknown style.
    """

    def __init__(self, env: DriveEnv, sensors: Sensors, *, vector: bool = False, style: str = "sun") -> None:
        super().__init__(env)
        self._drive = env
        self._eyes = _Eyes(sensors, env.observation_space if vector else None, style)  # type: ignore[arg-type]
        self.observation_space = self._eyes.space

    def _seen(self, vector: NDArray[np.float32]) -> Seen:
        return {name: all_of[0] for name, all_of in self._eyes.read(self._drive.world, vector[None]).items()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        """Begin an episode; with a seed, the first one of that seed's world."""
        vector, facts = self._drive.reset(seed=seed, options=options)
        return self._seen(vector), facts

    def step(self, action: Any) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        """A tenth of a second."""
        vector, reward, ended, cut, facts = self._drive.step(action)
        return self._seen(vector), reward, ended, cut, facts


class SensorVectorEnv(VectorWrapper):
    """The same for many worlds: all sensors of all worlds in one call.

    Raises:
        InputError: as `SensorEnv`, or several learners in a world.
    """

    def __init__(self, env: DriveVectorEnv, sensors: Sensors, *, vector: bool = False, style: str = "sun") -> None:
        super().__init__(env)
        if env.learners != 1:
            raise InputError(f"SensorVectorEnv: expected one learner in each world. Got {env.learners}.")
        self._drive = env
        self._eyes = _Eyes(sensors, env.single_observation_space if vector else None, style)  # type: ignore[arg-type]
        self.single_observation_space = self._eyes.space
        self.observation_space = batch_space(self._eyes.space, env.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Seen, dict[str, Any]]:
        """Begin an episode everywhere; with a seed, the first one of that seed's worlds."""
        vector, facts = self._drive.reset(seed=seed, options=options)
        return self._eyes.read(self._drive.world, vector), facts

    def step(self, actions: NDArray[Any]) -> tuple[Seen, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """A tenth of a second; see `DriveVectorEnv.step`."""
        vector, reward, ended, cut, facts = self._drive.step(actions)
        return self._eyes.read(self._drive.world, vector), reward, ended, cut, facts

"""The driving worlds as Gymnasium environments: one driver, or many side by side."""

from __future__ import annotations

import math
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.drive.geometry.lanes import RoadMap, expect_choice
from stalwart.drive.observation import OBSERVED, SCALE
from stalwart.drive.scene import Class
from stalwart.drive.simulation import Outcome, Worlds, make
from stalwart.drive.world.bodies import BODIES

Actions = Literal["continuous", "discrete", "waypoints"]
META = ("keep", "faster", "slower", "left", "right")
"""What the discrete actions mean."""
_WAYPOINTS = 4
_WAYPOINT_S = 0.5
_CAR = BODIES[Class.CAR]
_STEP_MPS, _ASIDE_M, _MOST_MPS = 2.0, 3.5, 40.0
_LIMIT = 10.0


class _Hands:
    """Turns actions into accelerations and steering angles; remembers the speed and side that meta-actions set."""

    def __init__(self, kind: Actions, worlds: int) -> None:
        self.kind = kind
        self.speed = np.zeros(worlds, np.float32)
        self.aside = np.zeros(worlds, np.float32)

    def space(self) -> Box | Discrete[np.int64]:
        if self.kind == "discrete":
            return Discrete(len(META))
        shape = (2,) if self.kind == "continuous" else (2 * _WAYPOINTS,)
        return Box(-1.0, 1.0, shape, np.float32)

    def reset(self, mask: NDArray[np.bool_], vector: NDArray[np.float32]) -> None:
        self.speed[mask] = vector[mask, 0]
        self.aside[mask] = 0.0

    def controls(self, actions: NDArray[Any], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """(W, 2) from actions and the unscaled vectors (W, 92)."""
        if self.kind == "continuous":
            push = np.where(actions[:, 0] > 0, _CAR.most_accel_mps2, _CAR.most_brake_mps2) * actions[:, 0]
            return np.stack([push, actions[:, 1] * _CAR.most_steer_rad], 1).astype(np.float32)
        speed = vector[:, 0]
        if self.kind == "discrete":
            self.speed += _STEP_MPS * ((actions == 1).astype(np.float32) - (actions == 2))
            np.clip(self.speed, 0.0, _MOST_MPS, out=self.speed)
            self.aside += _ASIDE_M * ((actions == 3).astype(np.float32) - (actions == 4))
            np.clip(self.aside, -_ASIDE_M, _ASIDE_M, out=self.aside)
            points = vector[:, 7:22].reshape(-1, 5, 3)
            near = np.where(speed > 8.0, 3, 2)  # 20 or 10 m ahead
            rows = np.arange(len(points))
            x, y = points[rows, near, 0], points[rows, near, 1] + self.aside
            return np.stack([np.clip(self.speed - speed, -5.0, 2.5), _pursue(x, y)], 1)
        # Waypoints at 0.5, 1, 1.5, 2 s: 1 is as far as the fastest goes, or 10 m aside.
        points = actions.reshape(-1, _WAYPOINTS, 2) * np.array([_MOST_MPS * _WAYPOINT_S * _WAYPOINTS, 10.0], np.float32)
        wanted = np.hypot(points[:, 1, 0], points[:, 1, 1]) / (2 * _WAYPOINT_S)
        return np.stack([np.clip(wanted - speed, -8.0, 3.0), _pursue(points[:, 1, 0], points[:, 1, 1])], 1)


def _pursue(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Steering angle of the circle through a point in the driver's frame: pure pursuit (Coulter 1992)."""
    square = np.maximum(x * x + y * y, 4.0)
    steer: NDArray[np.float32] = np.arctan(2 * y / square * _CAR.wheelbase_m).astype(np.float32)
    return steer


def _reward(outcome: Outcome, dt_s: float) -> NDArray[np.float64]:
    """Progress at 10 m/s is worth 1 a second; a collision or leaving the road costs 10, breaking a rule 2."""
    bad = outcome.hit | outcome.off_road
    rules = outcome.ran_red | outcome.ran_stop | outcome.wrong_way
    total = outcome.progress_m / 10.0 - 10.0 * bad - 2.0 * rules * (0.1 if dt_s < 0.05 else 1.0)
    return np.asarray(total.ravel(), np.float64)


def _facts(outcome: Outcome) -> dict[str, NDArray[Any]]:
    return {
        "progress_m": outcome.progress_m.ravel(), "collision": outcome.hit.ravel(), "at_fault": outcome.fault.ravel(),
        "off_road": outcome.off_road.ravel(), "wrong_way": outcome.wrong_way.ravel(),
        "ran_red": outcome.ran_red.ravel(), "ran_stop": outcome.ran_stop.ravel(), "arrived": outcome.arrived.ravel(),
    }  # fmt: skip


def _scaled(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vector / SCALE
    return np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)


class DriveVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """Many drivers as one vector environment, `learners` of them in each world.

    An episode ends with a collision, off the road or at the end of the route, and is cut off after `seconds`; in the
    step after that (`AutoresetMode.NEXT_STEP`) the world starts anew or, where several drive in it, this driver alone,
    elsewhere on the map. Observations are the privileged vector over `SCALE`.

    Args:
        num_envs: drivers in all, a multiple of `learners`.
        learners: drivers from outside in each world, who meet each other and the traffic; one step of a world then
            serves them all.
    """

    def __init__(
        self, roads: str | RoadMap, num_envs: int = 64, *, actions: Actions = "continuous", seconds: float = 60.0,
        agents: int = 24, walkers: int = 4, traffic: str = "mixed", seed: int = 0, first: int = 0, learners: int = 1,
    ) -> None:  # fmt: skip
        if not isinstance(learners, int) or not 1 <= learners <= agents:
            raise InputError(
                f"DriveVectorEnv: learners must be a whole number from 1 to agents={agents}. Got {learners!r}."
            )
        if num_envs % learners:
            raise InputError(f"DriveVectorEnv: num_envs must be a multiple of learners={learners}. Got {num_envs}.")
        self._settings = (roads, agents, walkers, traffic, first)
        self.learners = learners
        self._kind: Actions = expect_choice("actions", actions, ("continuous", "discrete", "waypoints"))  # type: ignore[assignment]
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(f"DriveVectorEnv: seconds must be above 0. Got {seconds!r}.")
        self.num_envs = num_envs
        self._most = math.ceil(seconds / 0.1)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Box(-_LIMIT, _LIMIT, (OBSERVED,), np.float32)
        self.single_action_space = _Hands(self._kind, 1).space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._build(seed)

    def _build(self, seed: int) -> None:
        roads, agents, walkers, traffic, first = self._settings
        self.world: Worlds = make(
            roads, self.num_envs // self.learners, agents=agents, walkers=walkers, egos=self.learners, traffic=traffic,
            seed=seed, first=first,
        )  # fmt: skip
        self._hands = _Hands(self._kind, self.num_envs)
        self._ended = np.zeros(self.num_envs, np.bool_)
        self._ticks = np.zeros(self.num_envs, np.int64)
        self._seed = seed

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode everywhere; with a seed, the first one of that seed's worlds."""
        if isinstance(seed, list):
            raise InputError("DriveVectorEnv.reset: seed must be one integer; each world has its own stream of it.")
        if seed is not None:
            self._build(seed)
        else:
            self.world.reset()
        self._ended[:] = False
        self._ticks[:] = 0
        vector = self.world.observe().reshape(-1, OBSERVED)
        self._hands.reset(np.ones(self.num_envs, np.bool_), vector)
        self._vector = vector
        return _scaled(vector), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """A tenth of a second. Drivers whose episode has ended begin anew instead, with reward 0; for whom there is no
        room yet, the episode is cut off at once."""
        fresh = self._ended.copy()
        controls = self._hands.controls(np.asarray(actions), self._vector)
        outcome = self.world.step(controls.reshape(-1, self.learners, 2))
        out = None
        if fresh.any():
            if self.learners == 1:
                self.world.reset(fresh)
            else:
                out = ~self.world.rejoin(fresh.reshape(-1, self.learners)).ravel()
        self._ticks += 1
        self._ticks[fresh] = 0
        vector = self.world.observe().reshape(-1, OBSERVED)
        self._hands.reset(fresh, vector)
        self._vector = vector
        ended = outcome.each_over.ravel() & ~fresh
        cut = (self._ticks >= self._most) & ~ended & ~fresh
        if out is not None:
            cut |= fresh & out
        self._ended = ended | cut
        reward = np.where(fresh, 0.0, _reward(outcome, self.world.dt_s))
        return _scaled(vector), reward, ended, cut, dict(_facts(outcome))


class Handed:
    """A policy that was trained in `DriveVectorEnv` with such actions, as a driver for all worlds it is made for."""

    def __init__(self, world: Worlds, policy: nn.Module, actions: Actions) -> None:
        self.world, self.policy = world, policy.eval()
        self._hands = _Hands(actions, world.worlds * world.egos)
        self._memory: Tensor | None = None
        self._fresh = np.ones(world.worlds, np.bool_)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was, in the worlds of the mask (W,)."""
        self._fresh |= mask

    def __call__(self) -> NDArray[np.float32]:
        """(W, E, 2) controls for `Worlds.step`; always the action thought best."""
        seen = self.world.observe()
        vector, fresh = seen.reshape(-1, OBSERVED), np.repeat(self._fresh, self.world.egos)
        self._hands.reset(fresh, vector)
        if self._memory is not None:
            self._memory[torch.from_numpy(fresh)] = 0
        self._fresh[:] = False
        with torch.no_grad():
            act: Any = self.policy.act
            action, self._memory = act(torch.from_numpy(_scaled(vector)), self._memory)
        return self._hands.controls(action.numpy(), vector).reshape(*seen.shape[:2], 2)


class DriveEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """One world, one driver. `actions`: 'continuous' (acceleration and steering, −1 to 1), 'discrete' (`META`) or
    'waypoints' (four points, half a second apart, −1 to 1 of 80 m ahead and 10 m aside)."""

    def __init__(
        self, roads: str | RoadMap = "town(seed=3)", *, actions: Actions = "continuous", seconds: float = 60.0,
        agents: int = 24, walkers: int = 4, traffic: str = "mixed", seed: int = 0, first: int = 0,
    ) -> None:  # fmt: skip
        self._many = DriveVectorEnv(
            roads, 1, actions=actions, seconds=seconds, agents=agents, walkers=walkers, traffic=traffic, seed=seed,
            first=first,
        )  # fmt: skip
        self.metadata = {"render_modes": []}
        self.observation_space = self._many.single_observation_space
        self.action_space = self._many.single_action_space

    @property
    def world(self) -> Worlds:
        """The world that is driven in; a reset with a seed makes another."""
        return self._many.world

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; with a seed, the first one of that seed's world."""
        super().reset(seed=seed)
        seen, facts = self._many.reset(seed=seed)
        return seen[0], facts

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """A tenth of a second."""
        self._many._ended[:] = False
        seen, reward, ended, cut, facts = self._many.step(np.asarray(action)[None])
        return seen[0], float(reward[0]), bool(ended[0]), bool(cut[0]), {name: v[0] for name, v in facts.items()}

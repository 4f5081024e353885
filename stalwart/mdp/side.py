"""Single environments side by side, without the copies and checks that cost Gymnasium's own loop most of its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from stalwart.core.errors import InputError


class SideBySide(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """As `gymnasium.vector.SyncVectorEnv` with `AutoresetMode.NEXT_STEP`, for Discrete and Box spaces.

    Seeds are `seed`, `seed + 1`, ... as there. Infos are left out.
    """

    def __init__(self, makers: list[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        self.envs = [make() for make in makers]
        first = self.envs[0]
        self.num_envs = len(self.envs)
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self.discrete = isinstance(first.action_space, gymnasium.spaces.Discrete)
        self.ended = [False] * self.num_envs

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        if isinstance(seed, list):
            raise InputError("SideBySide.reset: seed must be one integer; world n takes seed + n.")
        self.ended = [False] * self.num_envs
        seen = [env.reset(seed=None if seed is None else seed + n)[0] for n, env in enumerate(self.envs)]
        return self._joined(seen), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        chosen = actions.tolist() if self.discrete else actions
        seen: list[Any] = []
        reward, terminated, truncated = [0.0] * self.num_envs, [False] * self.num_envs, [False] * self.num_envs
        for n, env in enumerate(self.envs):
            if self.ended[n]:
                seen.append(env.reset()[0])
                self.ended[n] = False
            else:
                one, gain, end, cut, _ = env.step(chosen[n])
                seen.append(one)
                reward[n], terminated[n], truncated[n] = float(gain), bool(end), bool(cut)
                self.ended[n] = end or cut
        return self._joined(seen), np.array(reward), np.array(terminated), np.array(truncated), {}

    def _joined(self, seen: list[Any]) -> NDArray[Any]:
        return np.array(seen, self.single_observation_space.dtype)

    def close_extras(self, **_: Any) -> None:
        for env in self.envs:
            env.close()

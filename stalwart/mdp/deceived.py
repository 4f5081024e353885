"""A policy in its worlds and somebody who changes what it sees: the worlds as each of the two has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.core.rng import generator
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import flat


class DeceivingWorlds(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A policy in its worlds, seen from outside; actions from −1 to 1 are changes in parts of ε."""

    def __init__(self, policy: Policy, worlds: VectorEnv[Any, Any, Any], epsilon: float) -> None:
        self.policy, self.worlds, self.epsilon = policy, worlds, epsilon
        self.num_envs = worlds.num_envs
        self.metadata = {**worlds.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Box(-np.inf, np.inf, (policy.inputs,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (policy.inputs,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._shape = worlds.single_action_space.shape or ()

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        if isinstance(seed, list):
            raise InputError("DeceivingWorlds.reset: seed must be one integer; each world has its own stream of it.")
        seen, _ = self.worlds.reset(seed=seed)
        self._memory: torch.Tensor | None = None
        self._fresh = np.zeros(self.num_envs, np.bool_)
        return self._prepared(seen), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        push = torch.from_numpy(np.clip(np.asarray(actions, np.float32), -1.0, 1.0))
        with torch.no_grad():
            out, self._memory = self.policy.outputs_of(self._seen + self.epsilon * push, self._memory)
            taken = self.policy.best(out).numpy()
        seen, reward, terminated, truncated, facts = self.worlds.step(taken.reshape(self.num_envs, *self._shape))
        if self._memory is not None and self._fresh.any():
            self._memory = self._memory * torch.from_numpy(~self._fresh)[:, None]
        self._fresh = terminated | truncated
        return self._prepared(seen), -reward, terminated, truncated, facts

    def _prepared(self, seen: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            self._seen = self.policy.prepare(torch.from_numpy(flat(seen)))
        return self._seen.numpy()

    def close_extras(self, **_: Any) -> None:
        self.worlds.close()


class DeceivedWorlds(VectorWrapper):
    """Worlds whose observations a rival changes by up to ε of the policy's own units before anybody sees them.

    Args:
        rival: draws its actions, from −1 to 1, from what `policy` would have seen.
    """

    def __init__(
        self, worlds: VectorEnv[Any, Any, Any], policy: Policy, rival: Policy, epsilon: float, seed: int
    ) -> None:  # fmt: skip
        super().__init__(worlds)
        self.policy, self.rival, self.epsilon = policy, rival, epsilon
        self.rng = generator(seed, "rival")

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if isinstance(seed, list):
            raise InputError("DeceivedWorlds.reset: seed must be one integer; each world has its own stream of it.")
        seen, facts = self.env.reset(seed=seed, options=options)
        return self._shown(seen), facts

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, reward, terminated, truncated, facts = self.env.step(actions)
        return self._shown(seen), reward, terminated, truncated, facts

    def _shown(self, seen: NDArray[Any]) -> NDArray[np.float32]:
        rows = torch.from_numpy(flat(seen))
        with torch.no_grad():
            push, _ = self.rival.act(self.policy.prepare(rows), None, self.rng)
            push = self.epsilon * push.clamp(-1.0, 1.0)
            if self.policy.norm is not None:
                push = push * (self.policy.norm.square + 1e-8).sqrt()
        shown: NDArray[np.float32] = (rows + push).numpy().reshape(seen.shape)
        return shown

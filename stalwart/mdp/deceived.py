"""A policy in its worlds and somebody who changes what it sees: the worlds as each of the two has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core.errors import InputError
from stalwart.core.rng import generator
from stalwart.mdp.policies import Policy
from stalwart.mdp.smooth import climbed
from stalwart.mdp.spaces import flat


def decided(policy: Policy, climbs: int) -> int:
    """How many numbers a rival of a policy decides."""
    return policy.outputs if climbs else policy.inputs


def changed(
    policy: Policy, prepared: Tensor, actions: Tensor, epsilon: float, climbs: int = 0, memory: Tensor | None = None
) -> Tensor:  # fmt: skip
    """(N, inputs) what a rival's actions make of what a policy is about to see.

    Either they are the changes, in parts of ε. Or they are the direction in which the policy's own action shall go, and
    ascent by signs within ±ε finds the change: Sun et al., "Who is the strongest enemy? Towards optimal and efficient
    evasion attacks in deep RL" (ICLR 2022), section 4. The rival has then as few numbers to decide as the policy has.

    Args:
        prepared: (N, inputs) observations as the policy prepares them.
        actions: (N, inputs), cut at ±1; or, with climbs, (N, outputs).
        climbs: steps of the ascent; 0: actions are changes.
    """
    if not climbs:
        return prepared + epsilon * actions.clamp(-1.0, 1.0)
    step = epsilon if climbs == 1 else 2.5 * epsilon / climbs
    with torch.inference_mode(False), torch.enable_grad():
        seen, way = prepared.clone(), actions.clone()
        held = None if memory is None else memory.clone()

        def along(change: Tensor) -> Tensor:
            out = policy.outputs_of(seen + change, held)[0]
            return (way * (policy.mean_action(out) if policy.kind == "squashed" else out)).sum()

        change = climbed(along, torch.zeros_like(seen), epsilon, step, climbs)
    return prepared + change


class DeceivingWorlds(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A policy in its worlds, seen from outside; actions are numbers from −1 to 1, as `changed` takes them."""

    def __init__(self, policy: Policy, worlds: VectorEnv[Any, Any, Any], epsilon: float, climbs: int = 0) -> None:
        self.policy, self.worlds, self.epsilon, self.climbs = policy, worlds, epsilon, climbs
        self.num_envs = worlds.num_envs
        self.metadata = {**worlds.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Box(-np.inf, np.inf, (policy.inputs,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (decided(policy, climbs),), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._shape = worlds.single_action_space.shape or ()

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        if isinstance(seed, list):
            raise InputError("DeceivingWorlds.reset: seed must be one integer; each world has its own stream of it.")
        seen, _ = self.worlds.reset(seed=seed)
        self._memory: Tensor | None = None
        self._fresh = np.zeros(self.num_envs, np.bool_)
        return self._prepared(seen), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        chosen = torch.from_numpy(np.clip(np.asarray(actions, np.float32), -1.0, 1.0))
        shown = changed(self.policy, self._seen, chosen, self.epsilon, self.climbs, self._memory)
        with torch.no_grad():
            out, self._memory = self.policy.outputs_of(shown, self._memory)
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
        rival: draws its actions, as `changed` takes them, from what `policy` would have seen.
    """

    def __init__(
        self, worlds: VectorEnv[Any, Any, Any], policy: Policy, rival: Policy, epsilon: float, seed: int,
        climbs: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(worlds)
        self.policy, self.rival, self.epsilon, self.climbs = policy, rival, epsilon, climbs
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
            prepared = self.policy.prepare(rows)
            chosen, _ = self.rival.act(prepared, None, self.rng)
            push = changed(self.policy, prepared, chosen, self.epsilon, self.climbs) - prepared
            if self.policy.norm is not None:
                push = push * (self.policy.norm.square + 1e-8).sqrt()
        shown: NDArray[np.float32] = (rows + push).numpy().reshape(seen.shape)
        return shown

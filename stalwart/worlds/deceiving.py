"""Deceiving a policy, as a decision problem of its own: a learner that solves it is the strongest attacker there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from stalwart.core.component import above, component
from stalwart.core.errors import InputError
from stalwart.mdp.open import open_worlds
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import flat
from stalwart.store import checkpoint


@component
class deceiving:
    """What a policy sees is changed by up to ε, and whatever it loses is won.

    Zhang et al., "Robust reinforcement learning on state observations with learned optimal adversary" (ICLR 2021),
    section 3.1: for a fixed policy the best attacker's problem is a Markov decision process, with the policy's
    observations as states, changes as actions and the negative reward. Observations and ε are as the policy prepares
    them (normalised).
    """

    run: str
    """The policy's run folder, or a checkpoint of it."""
    epsilon: Annotated[float, above(0)] = 0.1
    """Largest change of each number of an observation."""
    env: str = ""
    """Where the policy acts; empty: where it was trained."""

    def build(self, count: int) -> DeceivingWorlds:
        folder = checkpoint.locate(Path(self.run))
        policy = checkpoint.load(folder)
        if not isinstance(policy, Policy) or policy.states:
            raise InputError(f"deceiving(run={self.run!r}) needs a policy that sees numbers. Got another model.")
        worlds = open_worlds(self.env or str(checkpoint.read_card(folder)["data"]), count)
        return DeceivingWorlds(policy.eval(), worlds, self.epsilon)


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

"""How good a policy is: whole episodes, apart from training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import nn

from stalwart.core.errors import InputError
from stalwart.core.statistics import student
from stalwart.mdp.spaces import flat


@dataclass
class Episodes:
    """What the episodes of an evaluation came to, in the order in which worlds and their episodes stand."""

    returns: list[float] = field(default_factory=list)
    """Sum of rewards of each, not discounted."""
    lengths: list[int] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    """Sums over all steps of what the world says of itself, such as metres and collisions."""

    def figures(self) -> dict[str, Any]:
        """mean_return with its 95 % interval (Student's t over episodes), and what else there is."""
        mean, low, high = student(self.returns)
        return {
            "mean_return": mean, "interval": [low, high], "episodes": len(self.returns),
            "lowest": min(self.returns), "highest": max(self.returns),
            "mean_length": float(np.mean(self.lengths)), "returns": self.returns, **self.facts,
        }  # fmt: skip


def evaluate(
    policy: nn.Module,
    worlds: VectorEnv[Any, Any, Any],
    episodes: int,
    seed: int,
    *,
    sample: bool = False,
    most: int = 1_000_000,
) -> Iterator[Episodes]:
    """Play whole episodes; yields now and then, the same object filling up.

    Each world plays its share: who took the first to finish of many worlds would take the short ones.

    Args:
        seed: of the worlds; it should be none that training used.
        sample: draw actions as training did; else the action thought best.
        most: steps of each world at most.

    Raises:
        InputError: episodes that do not end.
    """
    count = worlds.num_envs
    share = np.full(count, episodes // count) + (np.arange(count) < episodes % count)
    done: list[list[tuple[float, int]]] = [[] for _ in range(count)]
    found = Episodes()
    rng = torch.Generator().manual_seed(seed) if sample else None
    total, length, fresh = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.bool_)
    seen, _ = worlds.reset(seed=seed)
    memory = None
    device = next(policy.parameters()).device
    shape = worlds.single_action_space.shape or ()
    for step in range(most):
        with torch.inference_mode():
            actions, memory = policy.act(torch.from_numpy(flat(seen)).to(device), memory, rng)  # type: ignore[operator]
        taken = actions.cpu().numpy()
        seen, reward, terminated, truncated, facts = worlds.step(taken.reshape(count, *shape))
        playing = ~fresh & (share > 0)
        total += np.where(playing, reward, 0.0)
        length += playing
        for name, values in facts.items():
            if isinstance(values, np.ndarray) and values.shape == (count,) and values.dtype.kind in "bif":
                found.facts[name] = found.facts.get(name, 0.0) + float(values[playing].sum())
        if memory is not None and fresh.any():
            memory = memory * torch.from_numpy(~fresh).to(memory)[:, None]
        fresh = terminated | truncated
        for n in np.flatnonzero(fresh & playing):
            done[n].append((float(total[n]), int(length[n])))
            share[n] -= 1
        total[fresh], length[fresh] = 0.0, 0
        if step % 256 == 0 or not share.any():
            found.returns = [gain for world in done for gain, _ in world]
            found.lengths = [steps for world in done for _, steps in world]
            yield found
        if not share.any():
            return
    raise InputError(f"episodes must end within {most:,} steps. {int((share > 0).sum())} of {count} worlds' did not.")

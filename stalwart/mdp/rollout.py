"""A stretch of experience of many worlds, and the arrays that it stands in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from stalwart.mdp.returns import Flags, Floats, Tally
from stalwart.mdp.spaces import Spaces, flat


@dataclass
class Rollout:
    """T steps of N worlds. Each field's row t belongs to step t; `seen` and `memory` have a last row more."""

    seen: NDArray[Any]
    """(T + 1, N, inputs) float32 or, of pictures, uint8; or (T + 1, N) int64 of states."""
    raw: NDArray[Any]
    """(T, N) int64 or (T, N, dims) float32: actions as the policy drew them."""
    memory: Floats
    """(T + 1, N, gru): before each step; zeros where an episode begins."""
    reward: Floats
    terminated: Flags
    truncated: Flags
    valid: Flags
    """(T, N): the step belongs to an episode; false where a world began anew instead of acting."""

    @classmethod
    def empty(cls, steps: int, worlds: int, spaces: Spaces, gru: int) -> Rollout:
        flags = [np.zeros((steps, worlds), np.bool_) for _ in range(3)]
        seen = (steps + 1, worlds) if spaces.states else (steps + 1, worlds, spaces.inputs)
        raw = (steps, worlds) if spaces.actions else (steps, worlds, spaces.dims)
        return cls(
            np.zeros(seen, spaces.kept),
            np.zeros(raw, np.int64 if spaces.actions else np.float32),
            np.zeros((steps + 1, worlds, gru), np.float32),
            np.zeros((steps, worlds), np.float32),
            *flags,
        )


Draw = Callable[[int, NDArray[Any], Floats], tuple[NDArray[Any], NDArray[Any], Floats | None]]
"""(t, seen, memory) → the action as drawn, as the world takes it, and the memory after it."""


class Collector:
    """Steps worlds from where they stand, again and again, into one `Rollout`."""

    def __init__(self, worlds: VectorEnv[Any, Any, Any], out: Rollout, seed: int) -> None:
        self.worlds, self.out = worlds, out
        seen, _ = worlds.reset(seed=seed)
        out.seen[-1] = flat(seen)
        out.memory[-1] = 0
        self.fresh: Flags = np.zeros(worlds.num_envs, np.bool_)
        self.tally = Tally(worlds.num_envs)

    def collect(self, draw: Draw) -> None:
        """T further steps."""
        out, fresh = self.out, self.fresh
        out.seen[0], out.memory[0] = out.seen[-1], out.memory[-1]
        for t in range(len(out.raw)):
            out.raw[t], action, memory = draw(t, out.seen[t], out.memory[t])
            seen, reward, terminated, truncated, _ = self.worlds.step(action)
            out.seen[t + 1] = flat(seen)
            out.reward[t], out.terminated[t], out.truncated[t] = reward, terminated, truncated
            np.logical_not(fresh, out=out.valid[t])
            if memory is not None:
                out.memory[t + 1] = memory * out.valid[t][:, None]
            fresh = terminated | truncated
            self.tally.add(reward, fresh & out.valid[t])
        self.fresh = fresh

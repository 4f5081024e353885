"""What a learner must know of a world: the shapes and ranges of what is seen and done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.core.spelling import spell

Kind = Literal["values", "logits", "gaussian", "squashed"]


@dataclass(frozen=True)
class Spaces:
    """One world's observations and actions, flattened."""

    inputs: int
    """Numbers seen, or states where there are `states`."""
    states: bool
    """An observation is one number of a state, 0 to inputs − 1."""
    actions: int
    """Discrete actions; 0 where an action is a vector."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """Range of each number of an action; empty for discrete ones, and where there are no bounds."""
    dims: int = 0
    """Numbers of an action; 0 for discrete ones."""
    pixels: tuple[int, ...] = ()
    """An observation is a picture of bytes of this shape; empty: it is none."""

    @classmethod
    def of(cls, worlds: VectorEnv[Any, Any, Any]) -> Spaces:
        """The spaces of worlds side by side.

        Raises:
            InputError: spaces that are neither Discrete nor Box, or worlds that do not start anew by themselves in the
                step after an episode's last one.
        """
        mode = worlds.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if mode != AutoresetMode.NEXT_STEP:
            raise InputError(
                f"worlds must start anew in the step after the last (AutoresetMode.NEXT_STEP). Got {mode}; "
                "gymnasium.make_vec takes vector_kwargs={'autoreset_mode': ...}."
            )
        seen, done = worlds.single_observation_space, worlds.single_action_space
        pixels: tuple[int, ...] = ()
        if isinstance(seen, Discrete):
            inputs, states = int(seen.n), True
        elif isinstance(seen, Box):
            inputs, states = math.prod(seen.shape), False
            if seen.dtype == np.uint8 and len(seen.shape) == 3:
                pixels = tuple(seen.shape)
        else:
            raise InputError(f"observations must be Discrete or Box. Got {seen}.")
        if (isinstance(seen, Discrete) and seen.start != 0) or (isinstance(done, Discrete) and done.start != 0):
            raise InputError(f"discrete spaces must begin at 0. Got {seen} and {done}.")
        if isinstance(done, Discrete):
            return cls(inputs, states, int(done.n), pixels=pixels)
        if not isinstance(done, Box):
            raise InputError(f"actions must be Discrete or Box. Got {done}.")
        low, high = done.low.ravel().astype(float), done.high.ravel().astype(float)
        bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
        bounds = (tuple(low.tolist()), tuple(high.tolist())) if bounded else ((), ())
        return cls(inputs, states, 0, *bounds, dims=math.prod(done.shape), pixels=pixels)

    @property
    def kept(self) -> type[np.generic]:
        """As what an observation is kept: the number of a state, bytes of a picture, or numbers."""
        return np.int64 if self.states else np.uint8 if self.pixels else np.float32

    def policy(
        self, kind: Kind, widths: tuple[int, ...], *, activation: str = "tanh", normalise: bool = False, gru: int = 0,
        duelling: bool = False,
    ) -> str:  # fmt: skip
        """The spelling of a policy for these spaces, as a checkpoint's card holds it."""
        fields: dict[str, tuple[Any, Any]] = {
            "widths": (widths, (64, 64)), "activation": (activation, "tanh"), "states": (self.states, False),
            "normalise": (normalise and not (self.states or self.pixels), False), "gru": (gru, 0),
            "duelling": (duelling, False), "pixels": (self.pixels, ()),
            "low": (self.low, ()), "high": (self.high, ()),
        }  # fmt: skip
        more = "".join(f", {name}={spell(value)}" for name, (value, usual) in fields.items() if value != usual)
        return f"policy({self.inputs}, {self.actions or self.dims}, {kind!r}{more})"


def flat(observations: NDArray[Any]) -> NDArray[Any]:
    """(N, inputs) float32, or uint8 of pictures (N, a, b, c), or (N,) int64 of states."""
    if observations.dtype.kind in "iu" and observations.ndim == 1:
        return observations.astype(np.int64, copy=False)
    rows = observations.reshape(len(observations), -1)
    picture = observations.dtype == np.uint8 and observations.ndim == 4
    return rows if picture else rows.astype(np.float32, copy=False)

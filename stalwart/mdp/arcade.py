"""Atari games as their learners see them: the Arcade Learning Environment with the protocol of Machado et al.,
"Revisiting the Arcade Learning Environment" (JAIR 2018), section 5, on pictures as in Mnih et al. (Nature 2015).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from PIL import Image

from stalwart.core.errors import InputError

SIDE, STACK, SKIP = 84, 4, 4
MOST_STEPS = 27_000
"""Half an hour of play: 108,000 pictures at four a step. The emulator itself cuts there."""


def is_arcade(name: str) -> bool:
    """Whether an id is one of the Arcade Learning Environment's, such as ``ALE/Pong-v5``."""
    return name.startswith("ALE/")


def register(name: str) -> None:
    """Make Gymnasium know the games.

    Raises:
        InputError: ale-py is not installed.
    """
    try:
        import ale_py
    except ImportError:
        raise InputError(f"{name} needs ale-py: pip install 'stalwart[atari]'.") from None
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)


def play(name: str, picture: str | None) -> gymnasium.Env[Any, Any]:
    """A game; the emulator repeats the last action with a chance of 0.25 at each picture (sticky actions)."""
    made: gymnasium.Env[Any, Any] = gymnasium.make(
        name, frameskip=1, obs_type="grayscale", repeat_action_probability=0.25, max_episode_steps=MOST_STEPS * SKIP,
        render_mode=picture, disable_env_checker=True,
    )  # fmt: skip
    return Screen(made)


class Screen(gymnasium.Wrapper[NDArray[np.uint8], Any, Any, Any]):
    """(4, 84, 84) uint8: the last four pictures in grey, of every fourth. An action lasts four pictures; of the last
    two the brighter pixel counts, as sprites flicker. An episode ends with the game and not with a life.

    Args:
        env: shows (H, W) uint8, one picture a step.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = Box(0, 255, (STACK, SIDE, SIDE), np.uint8)
        self._stack = np.zeros((STACK, SIDE, SIDE), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        seen, facts = self.env.reset(seed=seed, options=options)
        self._stack[:] = shrunk(seen)
        return self._stack.copy(), facts

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        total, before = 0.0, None
        for _ in range(SKIP):
            seen, reward, ended, cut, facts = self.env.step(action)
            total += float(reward)
            shown = seen if before is None else np.maximum(seen, before)
            before = seen
            if ended or cut:
                break
        self._stack[:-1] = self._stack[1:]
        self._stack[-1] = shrunk(shown)
        return self._stack.copy(), total, bool(ended), bool(cut), facts


def shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(84, 84) of (H, W): each pixel is the mean of what it covers."""
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX))

"""Worlds by their name: a Gymnasium id, or the spelling of one of our own."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from stalwart.core import catalog
from stalwart.core.errors import InputError, nearest
from stalwart.mdp import arcade
from stalwart.mdp.side import SideBySide

ENDLESS = 1000
"""Steps after which an episode is cut off where an environment has no limit of its own, as CliffWalking: a policy that
walks in circles would never be evaluated."""
_ID = re.compile(r"(?:[\w:.-]+/)?[\w.-]+-v\d+")


def is_id(name: str) -> bool:
    """Whether a name is written as a Gymnasium id, such as ``CartPole-v1``."""
    return _ID.fullmatch(name.strip()) is not None


def open_single(name: str, *, render: bool = False) -> gymnasium.Env[Any, Any]:
    """One Gymnasium environment.

    Args:
        render: its `render()` gives pictures.

    Raises:
        InputError: no such id (it names the nearest), or a package that it needs is missing (it names that).
    """
    try:
        picture = "rgb_array" if render else None
        if arcade.is_arcade(name):
            arcade.register(name)
            return arcade.play(name, picture)
        endless = gymnasium.spec(name).max_episode_steps is None
        limit = ENDLESS if endless else None
        drawn = {"render_mode": picture} if render else {}  # not every environment's constructor takes it
        return gymnasium.make(name, max_episode_steps=limit, disable_env_checker=True, **drawn)
    except gymnasium.error.DependencyNotInstalled as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from None
    except (ImportError, gymnasium.error.UnregisteredEnv) as error:
        if isinstance(error, gymnasium.error.Error):
            raise InputError(f"there is no environment {name!r}. {nearest(name, gymnasium.registry)}") from None
        raise InputError(f"{name} needs a package that is missing: {error}.") from None
    except gymnasium.error.Error as error:
        raise InputError(f"{name} cannot be made: {' '.join(str(error).split())}") from None


def open_worlds(name: str, count: int = 1) -> VectorEnv[Any, Any, Any]:
    """`count` worlds side by side.

    Args:
        name: a Gymnasium id such as ``CartPole-v1``, or the spelling of a world of the room `worlds`.

    Raises:
        InputError: no such environment, or it cannot be made here.
    """
    if count < 1:
        raise InputError(f"worlds must be at least 1. Got {count}.")
    if is_id(name):
        return SideBySide([lambda: open_single(name.strip())] * count)
    worlds: VectorEnv[Any, Any, Any] = catalog.make(name, "worlds").build(count)
    return worlds

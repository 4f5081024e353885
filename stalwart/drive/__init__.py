"""The driving world: thousands of roads side by side, and what a car's sensors see of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stalwart.drive.env import DriveEnv as DriveEnv
    from stalwart.drive.env import DriveVectorEnv as DriveVectorEnv
    from stalwart.drive.scores.suite import replay as replay
    from stalwart.drive.scores.suite import score as score
    from stalwart.drive.simulation import make as make

__all__ = ["DriveEnv", "DriveVectorEnv", "make", "replay", "score"]


def __getattr__(name: str) -> Any:
    """Numba takes a second to import, so it is imported when it is first needed."""
    if name == "make":
        from stalwart.drive.simulation import make

        return make
    if name in ("score", "replay"):
        from stalwart.drive.scores import suite

        return getattr(suite, name)
    if name in ("DriveEnv", "DriveVectorEnv"):
        from stalwart.drive import env

        return getattr(env, name)
    raise AttributeError(f"module 'stalwart.drive' has no attribute {name!r}")

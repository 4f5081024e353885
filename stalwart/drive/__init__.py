"""The driving world: thousands of roads side by side, and what a car's sensors see of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stalwart.drive.env import DriveEnv as DriveEnv
    from stalwart.drive.env import DriveVectorEnv as DriveVectorEnv
    from stalwart.drive.simulation import make as make

__all__ = ["DriveEnv", "DriveVectorEnv", "make"]


def __getattr__(name: str) -> Any:
    """Numba takes a second to import, so it is imported when it is first needed."""
    if name == "make":
        from stalwart.drive.simulation import make

        return make
    if name in ("DriveEnv", "DriveVectorEnv"):
        from stalwart.drive import env

        return getattr(env, name)
    raise AttributeError(f"module 'stalwart.drive' has no attribute {name!r}")

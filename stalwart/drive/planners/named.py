"""Drivers by their names: the baselines, one that never moves its hands, and those that were learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import SpellingError
from stalwart.core.spelling import Call, parse
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.planners.guard import Guard
from stalwart.drive.planners.learned import learned
from stalwart.drive.simulation import Worlds

NAMES = ("lane", "brake", "expert", "constant", "guard")


class Driver(Protocol):
    """Drives all worlds that it was made for."""

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was, in the worlds of the mask (W,)."""
        ...

    def __call__(self) -> NDArray[np.float32]:
        """(W, E, 2) controls for `Worlds.step`: acceleration [m/s²] and steering angle [rad]."""
        ...


class Constant:
    """The same acceleration and steering angle, whatever comes."""

    def __init__(self, world: Worlds, accel_mps2: float = 0.0, steer_rad: float = 0.0) -> None:
        self._controls = np.tile(np.array([accel_mps2, steer_rad], np.float32), (world.worlds, world.egos, 1))

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """There is nothing to forget."""

    def __call__(self) -> NDArray[np.float32]:
        return self._controls


def maker_of(spelled: str) -> Callable[[Worlds], Driver]:
    """What makes the driver of that name for worlds: 'lane', 'brake' or 'expert' (see `Baseline`),
    ``constant(accel_mps2=1.0, steer_rad=0.05)``, a run folder or checkpoint of a policy that was trained to drive, or
    any of these under guard: ``guard('runs/teacher')`` (see `Guard`).

    Raises:
        SpellingError: it cannot be read, has other fields, or a value is not a finite number.
        InputError: no such driver; the nearest are named.
        CheckpointError: a folder without a checkpoint in it, or one that cannot be read.
    """
    if ("/" in spelled and "(" not in spelled) or (spelled not in NAMES and Path(spelled).is_dir()):
        return learned(spelled)
    call = parse(spelled)
    if isinstance(call, Call) and call.name == "guard":
        if len(call.args) != 1 or call.kwargs or not isinstance(call.args[0], str):
            raise SpellingError(f"driver guard takes another driver, such as guard('expert'). Got {spelled!r}.")
        make = maker_of(call.args[0])
        return lambda world: Guard(world, make(world))
    name = expect_choice("driver", call.name if isinstance(call, Call) else spelled, NAMES)
    assert isinstance(call, Call)
    fields = ("accel_mps2", "steer_rad") if name == "constant" else ()
    given = dict(zip(fields, call.args, strict=False)) | dict(call.kwargs)
    if len(call.args) > len(fields) or any(key not in fields for key in given):
        raise SpellingError(f"driver {name} has the fields {', '.join(fields) or 'none'}. Got {spelled!r}.")
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SpellingError(f"driver {name}: {key} must be a finite number. Got {value!r}.")
    if name == "constant":
        accel, steer = (float(given.get(key, 0.0)) for key in fields)
        return lambda world: Constant(world, accel, steer)
    return lambda world: Baseline(world, name)  # type: ignore[arg-type]


def driver_of(spelled: str, world: Worlds) -> Driver:
    """A driver by its name, for a world; see `maker_of`."""
    return maker_of(spelled)(world)

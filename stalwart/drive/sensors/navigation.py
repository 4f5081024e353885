"""GPS, IMU and speedometer, with noise of each world's own; and readings that come late."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.chance import GOLDEN, mixed
from stalwart.drive.compiled import Array, Whole, free_kernel
from stalwart.drive.scene import Floats, Scene
from stalwart.drive.sensors.moments import moment

_11, _40 = np.uint64(11), np.uint64(40)


@free_kernel
def _normals(out: Array, keys: Array, first: Whole) -> None:
    """(worlds, n) standard normals, numbers `first` and on of each key's stream (Box and Muller 1958)."""
    for w in range(out.shape[0]):
        for n in range(out.shape[1]):
            dice = mixed(keys[w] + np.uint64(first + n) * GOLDEN)
            radius = (np.float64(dice >> _40) + 1.0) * 2.0**-24
            angle = np.float64((dice >> _11) & np.uint64(0xFFFFFF)) * (2 * math.pi * 2.0**-24)
            out[w, n] = math.sqrt(-2.0 * math.log(radius)) * math.cos(angle)


@dataclass(frozen=True, eq=False)
class Motion:
    """How a vehicle moves, (worlds,) float32 each; the truth, or what is read of it."""

    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    speed_mps: Floats
    accel_mps2: Floats
    """Along the heading."""
    yaw_rate_radps: Floats


@dataclass(frozen=True)
class Navigation:
    """GPS, IMU and speedometer together. Deviations are standard deviations.

    Raises:
        InputError: a value below 0, named.
    """

    position_m: float = 0.4
    """Deviation of the GPS from reading to reading."""
    drift_m: float = 1.2
    """Deviation of the GPS that it keeps for a while: it wanders smoothly."""
    drift_ticks: int = 200
    """How many ticks it takes to wander elsewhere."""
    heading_rad: float = 0.01
    speed_share: float = 0.01
    """Deviation of the speed as a share of it: a wheel that is worn."""
    accel_mps2: float = 0.08
    yaw_rate_radps: float = 0.004

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value < (1 if f.name == "drift_ticks" else 0):
                raise InputError(f"navigation.{f.name} must be at least {int(f.name == 'drift_ticks')}. Got {value!r}.")

    def read(self, scene: Scene, truth: Motion) -> Motion:
        """What the instruments say at the scene's tick."""
        keys = moment(scene, "navigation")
        noise = np.empty((scene.worlds, 6))
        _normals(noise, keys, 0)
        knot, share = scene.tick // self.drift_ticks, (scene.tick % self.drift_ticks / self.drift_ticks)[:, None]
        ends = np.empty((2, scene.worlds, 3))
        for k in range(2):  # the wandering, and the worn wheel, belong to the world and not to the tick
            _normals(ends[k], moment(replace(scene, tick=knot + k), "drift"), 0)
        turn = share * math.pi / 2  # keeps the deviation the same on the way
        drift = np.cos(turn) * ends[0] + np.sin(turn) * ends[1]
        worn = np.empty((scene.worlds, 1))
        _normals(worn, moment(replace(scene, tick=np.zeros_like(scene.tick)), "wheel"), 0)

        def said(true: Floats, error: NDArray[Any]) -> Floats:
            return np.asarray(true + error, np.float32)

        return Motion(
            said(truth.x_m, noise[:, 0] * self.position_m + drift[:, 0] * self.drift_m),
            said(truth.y_m, noise[:, 1] * self.position_m + drift[:, 1] * self.drift_m),
            said(truth.yaw_rad, noise[:, 2] * self.heading_rad),
            said(truth.speed_mps, truth.speed_mps * self.speed_share * worn[:, 0]),
            said(truth.accel_mps2, noise[:, 4] * self.accel_mps2),
            said(truth.yaw_rate_radps, noise[:, 5] * self.yaw_rate_radps),
        )


R = TypeVar("R")


class Delay(Generic[R]):
    """Hands out readings (dataclasses of arrays by world) as they were some ticks ago.

    Before so many have come, or since a world was begun anew, it hands out the oldest that there is.

    Raises:
        InputError: ticks below 0.
    """

    def __init__(self, ticks: int) -> None:
        if ticks < 0:
            raise InputError(f"delay.ticks must be at least 0. Got {ticks!r}.")
        self.ticks = ticks
        self._past: list[R] = []

    def __call__(self, reading: R, begun: NDArray[np.bool_] | None = None) -> R:
        """Takes the newest reading (which is copied) and returns the late one.

        Args:
            begun: (worlds,) bool, which worlds have been begun anew: their past is forgotten.
        """
        copied = _mapped(reading, reading, lambda new, _: new.copy())
        if begun is not None and begun.any():
            self._past = [_mapped(old, copied, lambda a, b: _chosen(begun, b, a)) for old in self._past]
        self._past = [*self._past, copied][-self.ticks - 1 :]
        return self._past[0]


def _mapped(first: R, second: R, change: Any) -> R:
    """A record of what `change` makes of both records' arrays, field by field; fields that are None stay so."""
    names = [f.name for f in fields(first) if getattr(first, f.name) is not None]  # type: ignore[arg-type]
    return replace(first, **{n: change(getattr(first, n), getattr(second, n)) for n in names})  # type: ignore[type-var]


def _chosen(mask: NDArray[np.bool_], yes: NDArray[Any], no: NDArray[Any]) -> NDArray[Any]:
    return np.where(mask.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)

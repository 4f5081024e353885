"""Logs of drives: what was set, every control, and a digest of every step. A replay gives the same bits, or says where
it does not.

A log is an .npz of four arrays and holds no pickle: `setting` (uint8, JSON), `controls` (T, W, E, 2) float32, `fresh`
(T, W) bool, the worlds that began anew after a step, and `digests` (T + 1,) uint32.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import DataError, InputError
from stalwart.drive.simulation import Outcome, Worlds, make
from stalwart.feed.npz import read_npz
from stalwart.store import atomic

MAX_BYTES = 256 * 1024**2
"""The most that a log's arrays may take: ten hours of one world take 10 MB."""


@dataclass(frozen=True)
class Setting:
    """Worlds as `simulation.make` makes them, in words and numbers that a file can hold."""

    roads: str = "town(seed=3)"
    worlds: int = 1
    agents: int = 24
    walkers: int = 4
    traffic: str = "mixed"
    seed: int = 0

    def build(self, metres_per_pixel: float = 0.25) -> Worlds:
        """The worlds at their start. How fine the ground is matters to cameras, and to who is judged off the road.

        Raises:
            InputError: a value out of range, or roads or traffic that cannot be read.
        """
        return make(
            self.roads, self.worlds, agents=self.agents, walkers=self.walkers, traffic=self.traffic, seed=self.seed,
            metres_per_pixel=metres_per_pixel,
        )  # fmt: skip


class Log:
    """A drive as it is kept; `add` each step."""

    def __init__(self, setting: Setting, world: Worlds) -> None:
        self.setting = setting
        self._controls: list[NDArray[np.float32]] = []
        self._fresh: list[NDArray[np.bool_]] = []
        self._digests = [digest(world)]

    def add(self, controls: NDArray[np.float32], fresh: NDArray[np.bool_], world: Worlds) -> None:
        """A step that is done: its controls (W, E, 2), and the worlds (W,) that began anew after it.

        Raises:
            InputError: the log would grow beyond what is read again.
        """
        if (len(self._controls) + 1) * (controls.size * 4 + fresh.size + 4) > MAX_BYTES:
            raise InputError(f"a log holds at most {MAX_BYTES:,} bytes: record fewer seconds or worlds.")
        self._controls.append(np.array(controls, np.float32))
        self._fresh.append(fresh.copy())
        self._digests.append(digest(world))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            StorageError: the disk is full, or the folder cannot be written to.
        """
        worlds = self.setting.worlds
        text = json.dumps(dataclasses.asdict(self.setting)).encode()
        arrays: dict[str, Any] = {
            "setting": np.frombuffer(text, np.uint8),
            "controls": np.array(self._controls, np.float32).reshape(len(self._controls), worlds, -1, 2),
            "fresh": np.array(self._fresh, np.bool_).reshape(len(self._fresh), worlds),
            "digests": np.array(self._digests, np.uint32),
        }

        def fill(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)

        atomic.write(path, fill)


def digest(world: Worlds) -> int:
    """A checksum of all that a world is at a moment: bodies, numbers drawn, routes."""
    state, value = world.state, 0
    for block in (state.floats, state.ints, state.words, state.route):
        value = zlib.crc32(block.tobytes(), value)
    return value


@dataclass(frozen=True, eq=False)
class Recorded:
    """A log as it was read."""

    path: str
    setting: Setting
    controls: NDArray[np.float32]
    fresh: NDArray[np.bool_]
    digests: NDArray[np.uint32]

    @property
    def steps(self) -> int:
        return len(self.controls)

    def play(self, world: Worlds) -> Iterator[Outcome]:
        """Drive `world`, fresh from `setting.build()`, through the log; yields after each step.

        Raises:
            DataError: a step comes out otherwise than it did: another version, or arithmetic that rounds otherwise.
        """
        self._expect(world, 0)
        for step in range(self.steps):
            outcome = world.step(self.controls[step])
            if self.fresh[step].any():
                world.reset(self.fresh[step])
            self._expect(world, step + 1)
            yield outcome

    def _expect(self, world: Worlds, step: int) -> None:
        if digest(world) != int(self.digests[step]):
            raise DataError(
                f"{self.path}: step {step} of {self.steps} comes out otherwise than recorded. It was made by another "
                "version of Stalwart or on a machine that rounds otherwise."
            )


def read_log(path: Path) -> Recorded:
    """A log from its file.

    Raises:
        DataError: missing, damaged, too large, or no log.
    """
    name = str(path)
    held = read_npz(path, ("setting", "controls", "fresh", "digests"), MAX_BYTES)
    if len(held) < 4:
        raise DataError(f"{name}: expected a log with setting, controls, fresh and digests. Got {', '.join(held)}.")
    controls, fresh, digests = held["controls"], held["fresh"], held["digests"]
    setting = _setting(held["setting"], name)
    steps, wide = len(controls) if controls.ndim else 0, setting.worlds
    if controls.dtype != np.float32 or controls.shape != (steps, wide, 1, 2) or not np.isfinite(controls).all():
        raise DataError(f"{name}: expected finite float32 controls (steps, {wide}, 1, 2). Got {controls.shape}.")
    if fresh.dtype != np.bool_ or fresh.shape != (steps, wide):
        raise DataError(f"{name}: expected fresh as bool ({steps}, {wide}). Got {fresh.dtype} {fresh.shape}.")
    if digests.dtype != np.uint32 or digests.shape != (steps + 1,):
        raise DataError(f"{name}: expected digests as uint32 ({steps + 1},). Got {digests.dtype} {digests.shape}.")
    return Recorded(name, setting, controls, fresh, digests)


def _setting(data: NDArray[Any], name: str) -> Setting:
    kinds = {"roads": str, "worlds": int, "agents": int, "walkers": int, "traffic": str, "seed": int}
    try:
        held = json.loads(data.tobytes().decode())
    except (ValueError, RecursionError):
        raise DataError(f"{name}: expected setting to hold JSON. Got something else.") from None
    if not isinstance(held, dict) or {key: type(value) for key, value in held.items()} != kinds:
        raise DataError(f"{name}: expected setting to have {', '.join(kinds)}. Got something else.")
    if not 1 <= held["worlds"] <= 65536 or not 1 <= held["agents"] <= 4096:  # nothing large is made on a file's word
        raise DataError(f"{name}: expected 1 to 65536 worlds and 1 to 4096 agents. Got another number.")
    return Setting(**held)

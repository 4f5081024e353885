"""Drives a driver over many worlds, and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.drive.planners.named import driver_of
from stalwart.drive.recording import Setting
from stalwart.drive.scores.safety import poisson_interval

MOST_STEPS = 1_000_000
_EVERY_S = 0.1
"""Seconds between two progress events."""


def steps_of(seconds: float) -> int:
    """Steps of a tenth of a second.

    Raises:
        InputError: less than one step, or more than a million.
    """
    if not 0.1 <= seconds <= MOST_STEPS / 10:  # which NaN is not either
        raise InputError(f"seconds must be 0.1 to {MOST_STEPS // 10:,}. Got {seconds!r}.")
    return round(10 * seconds)


def drive(setting: Setting, driver: str = "expert", seconds: float = 60.0) -> Iterator[Event]:
    """Drive all worlds for a time. Whoever crashes, leaves the road or arrives begins anew.

    Yields:
        start, progress (unit 'steps'), result (kind 'drive'): km driven, collisions and those at fault, times off the
        road, on the wrong side, past a red light and a stop sign, arrivals; rates per 1000 km with exact 95 %
        intervals; steps of a world in a second.

    Raises:
        InputError: a value out of range, or roads, traffic or a driver that cannot be read.
    """
    steps = steps_of(seconds)
    world = setting.build()
    hands = driver_of(driver, world)
    yield Event("start", {"what": "drive", "total": steps, "unit": "steps", **asdict(setting), "driver": driver})
    events = dict.fromkeys(("collisions", "at_fault", "off_road", "wrong_way", "ran_red", "ran_stop", "arrived"), 0)
    wrong_before = np.zeros(world.worlds, np.bool_)
    driven_m, begun, told = 0.0, time.perf_counter(), 0.0
    for step in range(steps):
        outcome = world.step(hands())
        driven_m += float(outcome.progress_m.sum())
        over = outcome.over
        wrong = outcome.wrong_way[:, 0]
        counted = {
            "collisions": outcome.hit, "at_fault": outcome.fault & outcome.hit, "off_road": outcome.off_road,
            "wrong_way": wrong & ~wrong_before, "ran_red": outcome.ran_red, "ran_stop": outcome.ran_stop,
            "arrived": outcome.arrived,
        }  # fmt: skip
        for name, flags in counted.items():
            events[name] += int(flags.sum())
        wrong_before = wrong & ~over
        if over.any():
            world.reset(over)
            hands.reset(over)
        now = time.perf_counter()
        if now - told >= _EVERY_S or step + 1 == steps:
            told = now
            rate = (step + 1) / (now - begun)
            figures = {"km": driven_m / 1000, "collisions": events["collisions"]}
            yield Event("progress", {"done": step + 1, "total": steps, "unit": "steps", "rate": rate,
                                     "left_s": (steps - step - 1) / rate, **figures})  # fmt: skip
    taken = time.perf_counter() - begun
    km = driven_m / 1000
    values: dict[str, Any] = {
        "kind": "drive", "roads": setting.roads, "driver": driver, "worlds": setting.worlds, "agents": setting.agents,
        "seed": setting.seed, "simulated_s": steps / 10, "km": km,
        "mean_speed_mps": driven_m / (steps / 10) / world.worlds,
        **events,
    }  # fmt: skip
    if km > 0:
        for name in ("collisions", "at_fault", "off_road"):
            low, high = poisson_interval(events[name], km / 1000)
            values[f"{name}_per_1000_km"] = events[name] / km * 1000
            values[f"{name}_per_1000_km_interval"] = [low, high]
    yield Event("result", {**values, "world_steps_per_s": steps * world.worlds / taken, "seconds": taken})

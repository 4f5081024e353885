"""How high the guards of a camera stack read while nobody means harm, and the limits that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.core.screening import conformal, needed
from stalwart.drive.adversaries.changes import driver_of
from stalwart.drive.stack.keeper import GUARDS, NOTICED, Keeper
from stalwart.drive.stack.stixels import Stixels


def peaks(model: Stixels, scenarios: Sequence[Any], seed: int, seconds: float) -> dict[str, list[float]]:
    """By guard, for each clean drive on maps of the train split the greatest score that it kept for as long as it takes
    to be in doubt; in order.

    The guards only watch, all of them, and both sensors are trusted. A stack that trusts one sensor alone, or has some
    of the guards, drives a little otherwise: its share of false alarms is then near the one asked for and not bounded
    by it. So it is in drives of more than `seconds`.
    """
    found: dict[str, list[float]] = {guard: [] for guard in GUARDS}
    keeper = Keeper(model, "both", GUARDS, dict.fromkeys(GUARDS, float("inf"))).eval()
    for number, scenario in enumerate(scenarios):
        stage = scenario.stage("train", seed_of(seed, "calm", number) >> 1)
        driver = driver_of(stage.world, keeper)
        read: dict[str, list[Any]] = {guard: [] for guard in GUARDS}
        for tick in range(round(min(seconds, stage.seconds) / stage.world.dt_s)):
            controls = driver()
            assert driver.memory is not None
            for guard, scores in keeper.scored(driver.memory).items():
                read[guard].append(scores)
            if stage.script is not None:
                controls[:, 1:] = stage.script(stage.world, tick * stage.world.dt_s)
            stage.world.step(controls)
        for guard, steps in read.items():
            held = np.lib.stride_tricks.sliding_window_view(np.stack(steps), NOTICED, axis=0).min(-1)
            found[guard] += held.max(0).tolist()
    return {guard: sorted(values) for guard, values in found.items()}


def expect_share(false_alarms: float) -> None:
    """Raise InputError for a share of false alarms outside (0, 1)."""
    if not 0 < false_alarms < 1:
        raise InputError(f"false alarms must be a share of the clean drives in (0, 1). Got {false_alarms!r}.")


def limits_of(card: Mapping[str, Any], guards: Sequence[str], false_alarms: float) -> dict[str, float]:
    """By guard, the limit that at most a share of clean drives like those of the card exceeds (split conformal
    prediction, `core.screening.conformal`); nothing for runs whose card says nothing.

    Raises:
        InputError: a share outside (0, 1), or one too small for so few drives.
    """
    expect_share(false_alarms)
    calm = {guard: values for guard, values in card.get("calm", {}).items() if guard in guards}
    for guard, values in calm.items():
        if len(values) < needed(false_alarms):
            raise InputError(
                f"{guard}: {len(values)} clean drives say nothing of a share of false alarms of {false_alarms:g}; that "
                f"takes {needed(false_alarms)}. Ask for {math.ceil(1000 / (len(values) + 1)) / 1000:g} or more."
            )
    return {guard: conformal(torch.tensor(values, dtype=torch.float64), false_alarms) for guard, values in calm.items()}

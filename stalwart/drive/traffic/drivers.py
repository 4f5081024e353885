"""Who drives: a population from timid to aggressive, and the ways in which some of them fail."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError, nearest
from stalwart.drive.chance import uniform
from stalwart.drive.compiled import kernel

TRAITS = (
    DESIRE, HEADWAY_S, ACCEL_MPS2, BRAKE_MPS2, GAP_M, POLITENESS, THRESHOLD_MPS2, SAFE_BRAKE_MPS2, ACCEPTED_S,
    DISTRACTED, HARD_BRAKES_PER_S, RUNS_RED, WRONG_SIGNAL, JAYWALKS_PER_S,
) = range(14)  # fmt: skip
"""Columns of the traits: speed over the limit's; time headway, acceleration, comfortable braking and standing gap of
IDM; politeness, threshold and safe braking of MOBIL; the time that must lie between them and whoever has priority; the
share of time they look away; sudden brakings per second; 1 for those who run red lights, signal wrongly; jaywalks per
second."""

_RANGES = np.array(
    [
        [(0.80, 0.95), (1.6, 2.2), (1.0, 1.4), (1.4, 1.8), (2.2, 3.0), (0.4, 0.6), (0.3, 0.5), (1.5, 2.0), (1.8, 2.6)],
        [(0.92, 1.06), (1.1, 1.6), (1.3, 1.9), (1.7, 2.3), (1.8, 2.4), (0.2, 0.4), (0.1, 0.3), (2.0, 3.0), (1.2, 1.8)],
        [(1.05, 1.25), (0.7, 1.0), (1.8, 2.8), (2.3, 3.2), (1.3, 1.8), (0.0, 0.1), (0.0, 0.1), (3.0, 4.5), (0.7, 1.1)],
    ],
    np.float32,
)
"""(timid, normal, aggressive) × the first nine traits × (least, most)."""


class Crowd(NamedTuple):
    """A population as kernels read it."""

    temper: NDArray[np.float32]
    """(3,) shares of timid, normal and aggressive drivers, summed up."""
    kinds: NDArray[np.float32]
    """(6,) shares of car, van, truck, bus, motorcycle and cyclist, summed up."""
    faults: NDArray[np.float32]
    """(6,) distracted share of time of one driver in four, sudden brakings per second of one in eight, shares of
    speeding, red-light running and wrongly signalling drivers, jaywalks per second."""
    ranges: NDArray[np.float32]


@dataclass(frozen=True)
class Population:
    """Whom a world's drivers and walkers are drawn from. Shares lie in [0, 1].

    Raises:
        InputError: a share out of range, or tempers or kinds that do not sum to 1.
    """

    timid: float = 0.25
    normal: float = 0.55
    aggressive: float = 0.20
    """Shares of the three tempers: they sum to 1."""
    vans: float = 0.1
    trucks: float = 0.07
    buses: float = 0.03
    motorcycles: float = 0.04
    cyclists: float = 0.03
    """Shares of the kinds; the rest are cars."""
    distracted: float = 0.1
    """Share of the time in which one driver in four looks away, up to two seconds at a time."""
    hard_brakes_per_h: float = 4.0
    """Sudden brakings per hour of one driver in eight."""
    speeding: float = 0.08
    """Share that drive 15 to 40 % faster than their temper has it."""
    runs_red: float = 0.02
    wrong_signal: float = 0.04
    jaywalks_per_h: float = 12.0
    """Times that a walker crosses away from crossings, per hour."""

    def __post_init__(self) -> None:
        shares = (
            "timid", "normal", "aggressive", "vans", "trucks", "buses", "motorcycles", "cyclists", "distracted",
            "speeding", "runs_red", "wrong_signal",
        )  # fmt: skip
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Population.{name} must lie in [0, 1]. Got {getattr(self, name)!r}.")
        for name in ("hard_brakes_per_h", "jaywalks_per_h"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"Population.{name} must be at least 0 and finite. Got {getattr(self, name)!r}.")
        tempers = self.timid + self.normal + self.aggressive
        if abs(tempers - 1) > 1e-6:
            raise InputError(f"Population: timid, normal and aggressive must sum to 1. They sum to {tempers:g}.")
        kinds = self.vans + self.trucks + self.buses + self.motorcycles + self.cyclists
        if kinds > 1 + 1e-6:
            raise InputError(f"Population: vans to cyclists must sum to at most 1. They sum to {kinds:g}.")

    def crowd(self) -> Crowd:
        kinds = (self.vans, self.trucks, self.buses, self.motorcycles, self.cyclists)
        return Crowd(
            np.cumsum([self.timid, self.normal, self.aggressive]).astype(np.float32),
            np.cumsum([1 - sum(kinds), *kinds]).astype(np.float32),
            np.array(
                [
                    self.distracted, self.hard_brakes_per_h / 3600, self.speeding, self.runs_red, self.wrong_signal,
                    self.jaywalks_per_h / 3600,
                ],
                np.float32,
            ),
            _RANGES,
        )  # fmt: skip


_FAULTLESS = Population(distracted=0, hard_brakes_per_h=0, speeding=0, runs_red=0, wrong_signal=0, jaywalks_per_h=0)

POPULATIONS = {
    "mixed": Population(),
    "timid": replace(_FAULTLESS, timid=1, normal=0, aggressive=0),
    "normal": replace(_FAULTLESS, timid=0, normal=1, aggressive=0),
    "aggressive": Population(0, 0.2, 0.8, speeding=0.3, hard_brakes_per_h=20, runs_red=0.1, jaywalks_per_h=60),
}
"""Populations by name."""


def population_of(named: str | Population) -> Population:
    """A population by its name, or itself.

    Raises:
        InputError: no such name; it says the nearest.
    """
    if isinstance(named, Population):
        return named
    if named not in POPULATIONS:
        raise InputError(f"traffic must be a Population or one of {', '.join(POPULATIONS)}. Got {named!r}. "
                         f"{nearest(str(named), POPULATIONS)}")  # fmt: skip
    return POPULATIONS[named]


@kernel
def draw_traits(crowd: Crowd, traits: NDArray[np.float32], key: int, tick: int, what: int) -> None:
    """Fill a driver's row (14,) from draws `what` to `what + 19`."""
    temper = 0
    draw = uniform(key, tick, what)
    while temper < 2 and draw >= crowd.temper[temper]:
        temper += 1
    for k in range(9):
        low, high = crowd.ranges[temper, k, 0], crowd.ranges[temper, k, 1]
        traits[k] = low + (high - low) * uniform(key, tick, what + 1 + k)
    faults = crowd.faults
    if uniform(key, tick, what + 10) < faults[2]:
        traits[DESIRE] *= np.float32(1.15) + np.float32(0.25) * uniform(key, tick, what + 11)
    traits[DISTRACTED] = faults[0] if uniform(key, tick, what + 12) < np.float32(0.25) else np.float32(0.0)
    traits[HARD_BRAKES_PER_S] = faults[1] if uniform(key, tick, what + 13) < np.float32(0.125) else np.float32(0.0)
    traits[RUNS_RED] = np.float32(uniform(key, tick, what + 14) < faults[3])
    traits[WRONG_SIGNAL] = np.float32(uniform(key, tick, what + 15) < faults[4])
    traits[JAYWALKS_PER_S] = faults[5]

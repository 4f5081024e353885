"""Searching what another driver may do for crashes that a better driver would have avoided."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core import catalog
from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.core.spelling import spell
from stalwart.core.statistics import wilson
from stalwart.drive.scenarios.plan import MOST, PLAN
from stalwart.drive.scores.suite import DriverMaker, score

Doubles = NDArray[np.float64]
_NEAR_S, _SHARED = 3.0, 0.5
_LEAST_SPREAD, _KEPT = 0.04, 0.3
_DIGITS = 3


def search(
    driver: str | DriverMaker,
    reference: str | DriverMaker = "expert",
    *,
    rounds: int = 8,
    plans: int = 256,
    elite: float = 0.1,
    suite: int = 20,
    speed_kmh: float = 90.0,
    maps: int = 4,
    seed: int = 0,
) -> Iterator[Event]:
    """Look for plans of a driver beside under which `driver` crashes and `reference` does not.

    The cross-entropy method (Rubinstein, "The cross-entropy method for combinatorial and continuous optimization",
    1999): plans are drawn from a normal distribution in the cube of their ranges, and its mean and deviations move to
    those of the best. How good a plan is: the danger to the driver, less that to the reference, and less again where
    the reference crashes, too; danger is 1 in a collision, else it grows as the least time to collision falls below
    3 s. The first round is drawn evenly: what blind search of the same size finds, for comparison.

    Args:
        driver, reference: as `drive.score` takes them.
        plans: drawn in each round; each is a world.
        elite: share of the plans that the next round is drawn around.
        suite: how many found plans to keep, as unlike each other as can be.
        maps: maps of the test split on which the kept plans are played again.

    Yields:
        `start`, `progress` (done, total, unit 'plans', rate), a `note` for each round, and one `result`: `found`
        (scenarios as spelled, to be scored as a suite), `rounds` (for each the plans, crashes of the driver, of the
        reference, and those of the driver alone, with Wilson's intervals), and `again` (the kept plans on the other
        maps, the same counts).

    Raises:
        InputError: a number out of its range, or no such driver.
    """
    for name, value, least, most in (("rounds", rounds, 1, 1000), ("plans", plans, 8, MOST), ("suite", suite, 1, 500),
                                     ("maps", maps, 1, 100)):  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"search({name}=...) must be an integer from {least} to {most}. Got {value!r}.")
    if not 0 < elite <= 0.5:
        raise InputError(f"search(elite=...) must lie in (0, 0.5]. Got {elite!r}.")
    return _search(driver, reference, rounds, plans, elite, suite, speed_kmh, maps, seed)


def _search(
    driver: str | DriverMaker, reference: str | DriverMaker, rounds: int, plans: int, elite: float, suite: int,
    speed_kmh: float, maps: int, seed: int,
) -> Iterator[Event]:  # fmt: skip
    yield Event("start", {"what": "search", "total": rounds * plans, "unit": "plans", "reference": str(reference)})
    random = np.random.default_rng(seed_of(seed, "rival", "search"))
    low, high = np.array([row[1:] for row in PLAN]).T
    mean, spread = np.full(len(PLAN), 0.5), np.full(len(PLAN), 0.5)
    begun, table, good = time.perf_counter(), np.zeros((0, len(PLAN))), np.zeros(0, np.bool_)
    told: list[dict[str, Any]] = []
    for number in range(rounds):
        cube = random.random((plans, len(PLAN))) if number == 0 else _drawn(random, mean, spread, plans)
        chosen = np.round(low + cube * (high - low), _DIGITS)
        theirs, best = (_played(who, chosen, speed_kmh, "train", 1, seed) for who in (driver, reference))
        alone = _alone(theirs, best)
        worth = np.array([_worth(a, b) for a, b in zip(theirs, best, strict=True)])
        top = np.argsort(-worth, kind="stable")[: max(2, round(elite * plans))]
        mean = _KEPT * mean + (1 - _KEPT) * cube[top].mean(0)
        spread = np.maximum(_KEPT * spread + (1 - _KEPT) * cube[top].std(0), _LEAST_SPREAD)
        table, good = np.concatenate([table, chosen]), np.concatenate([good, alone])
        told.append(_counted(theirs, best, alone))
        done = (number + 1) * plans
        rate = done / (time.perf_counter() - begun)
        yield Event("progress", {"done": done, "total": rounds * plans, "unit": "plans", "rate": rate,
                                 "left_s": (rounds * plans - done) / rate})  # fmt: skip
        yield Event("note", {"message": f"round {number + 1}: the driver crashes under {told[-1]['driver'][0]} of "
                                        f"{plans} plans, alone under {told[-1]['alone'][0]}"})  # fmt: skip
    unlike = _unlike((table[good] - low) / (high - low), suite)
    kept = table[good][unlike]
    result: dict[str, Any] = {"kind": "search", "found": [], "rounds": told, "seed": seed, "speed_kmh": speed_kmh,
                              "plans": plans, "again": None, "seconds": time.perf_counter() - begun}  # fmt: skip
    if len(kept):
        result["found"] = [spell(_scenario([row], speed_kmh, 1)) for row in kept]
        theirs, best = (_played(who, kept, speed_kmh, "test", maps, seed) for who in (driver, reference))
        result["again"] = _counted(theirs, best, _alone(theirs, best))
    yield Event("result", result)


def _scenario(table: Sequence[Sequence[float]] | Doubles, speed_kmh: float, maps: int) -> Any:
    rival: Any = type(catalog.make("rival()", "scenarios"))
    return rival(plans=tuple(tuple(map(float, row)) for row in table), speed_kmh=speed_kmh, maps=maps)


def _played(
    driver: str | DriverMaker, table: Doubles, speed_kmh: float, split: str, maps: int, seed: int
) -> list[dict[str, Any]]:
    """Each plan's drive, on each of the maps."""
    (result,) = (
        event.values
        for event in score(driver, [_scenario(table, speed_kmh, maps)], split=split, seed=seed)
        if event.kind == "result"
    )
    episodes: list[dict[str, Any]] = result["episodes"]
    return episodes


def _worth(theirs: dict[str, Any], best: dict[str, Any]) -> float:
    """How much more dangerous a plan is to the driver than to the reference; a crash of both is worse than none."""
    return _danger(theirs) - _danger(best) - _SHARED * (best["collision"] is not None)


def _danger(episode: dict[str, Any]) -> float:
    if episode["collision"] is not None:
        return 1.0
    least = episode["least_ttc_s"]
    return 0.0 if least is None else 0.9 * max(0.0, 1 - least / _NEAR_S)


def _alone(theirs: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]]) -> NDArray[np.bool_]:
    """Where the driver crashes and the reference does not."""
    pairs = zip(theirs, best, strict=True)
    return np.array([a["collision"] is not None and b["collision"] is None for a, b in pairs], np.bool_)


def _counted(
    theirs: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]], alone: NDArray[np.bool_]
) -> dict[str, Any]:
    n = len(theirs)
    counts = {
        "driver": sum(e["collision"] is not None for e in theirs),
        "reference": sum(e["collision"] is not None for e in best),
        "alone": int(alone.sum()),
    }
    return {"n": n, **{name: [count, *wilson(count, n)] for name, count in counts.items()}}


def _drawn(random: np.random.Generator, mean: Doubles, spread: Doubles, count: int) -> Doubles:
    """Normal around the mean, mirrored back into the cube at its sides."""
    cube = random.normal(mean, spread, (count, len(mean)))
    mirrored: Doubles = np.abs(1 - np.abs(1 - np.mod(cube, 2.0)))
    return mirrored


def _unlike(cube: Doubles, most: int) -> list[int]:
    """Points of the cube that are far from each other: the first, then always the one farthest from those chosen."""
    if not len(cube):
        return []
    chosen, nearest = [0], np.full(len(cube), math.inf)
    while len(chosen) < min(most, len(cube)):
        nearest = np.minimum(nearest, np.linalg.norm(cube - cube[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return sorted(chosen)

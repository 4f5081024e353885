"""Any driver through a suite of scenarios: events on the way, figures and failures in the end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core.contracts import Event
from stalwart.core.errors import ContractError, InputError
from stalwart.core.spelling import spell
from stalwart.drive.planners.named import maker_of
from stalwart.drive.scenarios.stage import SPLITS, Stage
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.scores.episode import Episode, Log
from stalwart.drive.scores.figures import figures
from stalwart.drive.simulation import Worlds

Driver = Callable[[], NDArray[Any]]
"""→ (W, E, 2) acceleration [m/s²] and steering angle [rad]; asked once for each step of the worlds it was made for."""
DriverMaker = Callable[[Worlds], Driver]
_EVERY = 50


def score(
    driver: str | DriverMaker, suite: str | Sequence[str] = "free", *, split: str = "test", seed: int = 0,
    style: str | None = None, surface: str | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Drive every scenario of a suite and judge: ``for event in score("expert", "critical"): ...``.

    Args:
        driver: a name as `planners.named.maker_of` reads it, or what makes a driver for worlds, as ``lambda world:
            Baseline(world, "lane")``. A driver is called without arguments and gives controls (W, E, 2); only those of
            the first of each world's drivers are used where the others are actors.
        suite: a name from `scenarios.suites.SUITES`, a scenario such as ``"cut_in()"``, or several scenarios.
        split: 'train' or 'test': whose maps.
        seed: of the traffic; with the scenario, the split and a world's number it replays a failure (`replay`).
        style: weather and light of all scenarios, which drivers with cameras see; None: what each has.
        surface: 'dry', 'wet', 'snow' or 'ice' in all scenarios, for the friction; None: what each has.

    Yields:
        `start` (driver, suite, scenarios, total), `progress` (done, total, unit 'scenarios', scenario, step,
        steps, rate in steps of a world per second), one `note` for each
        scenario (message), and one `result`, ready for JSON: `all`, `scenarios` by spelling, `failures` and
        `episodes`; see `figures.figures` and `episode.Episode`.

    Raises:
        InputError: no such driver, suite, split, style or surface.
        ContractError: controls of another shape, or that are not finite.
    """
    make, name = _maker(driver)
    scenarios = scenarios_of(suite)
    worn = {name: value for name, value in (("style", style), ("surface", surface)) if value is not None}
    scenarios = tuple(dataclasses.replace(one, **worn) for one in scenarios)
    if split not in SPLITS:
        raise InputError(f"score(split=...) must be one of {', '.join(SPLITS)}. Got {split!r}.")
    spelled = [spell(scenario) for scenario in scenarios]
    return _score(make, name, scenarios, spelled, str(suite), split, seed)


def _score(
    make: DriverMaker, name: str, scenarios: Sequence[Any], spelled: Sequence[str], suite: str, split: str, seed: int
) -> Iterator[Event]:
    yield Event("start", {"driver": name, "suite": suite, "split": split, "seed": seed, "scenarios": list(spelled),
                          "total": len(spelled), "unit": "scenarios"})  # fmt: skip
    begun, episodes, steps = time.perf_counter(), [], 0
    parts: dict[str, Any] = {}
    for number, (scenario, words) in enumerate(zip(scenarios, spelled, strict=True)):
        stage = scenario.stage(split, seed)
        log = Log(stage)
        limit = round(stage.seconds / stage.world.dt_s)
        for tick, _ in enumerate(drive(stage, make(stage.world), log)):
            steps += stage.world.worlds
            if tick % _EVERY == 0:
                yield Event("progress", {
                    "done": number, "total": len(spelled), "unit": "scenarios", "scenario": words, "step": tick,
                    "steps": limit, "rate": steps / (time.perf_counter() - begun),
                })  # fmt: skip
        here = log.episodes(words)
        episodes += here
        parts[words] = figures(here)
        clean = sum(not e.failures for e in here)
        yield Event("note", {"message": f"{words}: {clean} of {len(here)} drives without a failure"})
    yield Event("result", {
        "driver": name, "suite": suite, "split": split, "seed": seed, "seconds": time.perf_counter() - begun,
        "all": figures(episodes), "scenarios": parts, "failures": [_failure(e, split, seed) for e in episodes
        if e.failures], "episodes": [{**dataclasses.asdict(e), "failures": list(e.failures)} for e in episodes],
    })  # fmt: skip


def drive(stage: Stage, driver: Driver, log: Log | None = None) -> Iterator[Worlds]:
    """Run a stage to its end, the worlds after each step: what `score` judges, and what replays are drawn from.

    With a log it ends as soon as every world is closed.

    Raises:
        ContractError: controls of another shape, or that are not finite.
    """
    world = stage.world
    wanted = (world.worlds, world.egos, 2)
    for tick in range(round(stage.seconds / world.dt_s)):
        controls = np.array(driver(), np.float32)
        if controls.shape != wanted or not np.isfinite(controls[:, 0]).all():
            came = controls.shape if controls.shape != wanted else "infinity or NaN"
            raise ContractError(f"driver: expected finite controls of {wanted}. Got {came}.")
        if stage.script is not None:
            controls[:, 1:] = stage.script(world, tick * world.dt_s)
        outcome = world.step(controls)
        if log is not None:
            log.note(outcome)
        yield world
        if log is not None and not log.open.any():
            return


def replay(driver: str | DriverMaker, scenario: str, *, split: str = "test", seed: int = 0) -> Iterator[Worlds]:
    """The worlds of one scenario after each step: a failure's world is the one of its number.

    Raises:
        InputError: no such driver, scenario or split.
    """
    make, _ = _maker(driver)
    (one,) = scenarios_of([scenario])
    stage = one.stage(split, seed)
    return drive(stage, make(stage.world))


def _maker(driver: str | DriverMaker) -> tuple[DriverMaker, str]:
    if callable(driver):
        return driver, getattr(driver, "__name__", type(driver).__name__)
    return maker_of(driver), driver


def _failure(episode: Episode, split: str, seed: int) -> dict[str, Any]:
    return {
        "scenario": episode.scenario, "split": split, "seed": seed, "world": episode.world,
        "variant": dict(episode.variant), "why": list(episode.failures),
    }  # fmt: skip

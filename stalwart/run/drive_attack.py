"""Attacks a driver in the loop: not what its perception says of a picture, but where its car ends."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import stalwart.store.checkpoint as checkpoint
from stalwart.core import catalog
from stalwart.core.contracts import Event, Tamper
from stalwart.core.errors import CheckpointError, InputError
from stalwart.core.rng import seed_of
from stalwart.core.spelling import spell
from stalwart.core.statistics import sign_test, student
from stalwart.drive.adversaries.changes import Change, driver_of
from stalwart.drive.adversaries.subject import Subject
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.scenarios.suites import SUITES, scenarios_of
from stalwart.drive.scores.episode import Episode, Log
from stalwart.drive.scores.figures import figures
from stalwart.drive.scores.safety import poisson_interval
from stalwart.drive.scores.suite import drive
from stalwart.drive.sensing import Rig, SensorDriver
from stalwart.drive.simulation import Worlds
from stalwart.drive.stack.apart import Apart
from stalwart.drive.stack.keeper import CAMERA, TRUSTS, Keeper
from stalwart.drive.stack.stixels import Stixels
from stalwart.drive.stack.wary import Wary
from stalwart.run._calm import expect_share, limits_of
from stalwart.store import atomic

SUITE = ("stopped_vehicle(speed_kmh=(40, 50, 60), distance_m=(60, 90, 120), aside_m=(0,), maps=4, kind='van')",)
"""Where no suite is given: a van stands in the lane, and has to be seen."""

_GUARDS: dict[str, Callable[[Any], nn.Module]] = {"apart": Apart, "physics": Wary}
"""Of learned drivers, the inner ones first."""


def policy_of(run: str | Path, *, trust: str = "camera", guards: Sequence[str] = (), false_alarms: float = 0.05) -> Any:
    """The `SensorPolicy` of a run: a camera stack made by `drive_fit`, as `trust` and the rest say, or any other
    policy that drives through sensors, in `drive.stack.apart.Apart` and `drive.stack.wary.Wary` where the guards are
    'apart' and 'physics'. The stack's guards have such limits that each doubts in a share `false_alarms` of clean
    drives like those of `drive_fit`, at most; where the run keeps no such drives they are fixed ones
    (`drive.stack.checks.LIMITS`).

    Raises:
        InputError: no such run, one of another kind, an unknown trust or guard, or a share outside (0, 1).
    """
    expect_choice("stack.trust", trust, TRUSTS)
    expect_share(false_alarms)
    model: Any = checkpoint.load(run)
    if isinstance(model, Stixels):
        size = [CAMERA.height, CAMERA.width]
        if model.card["signature"]["size"] != size:  # type: ignore[index]
            raise CheckpointError(f"{run} was made for pictures of another size than {size}.")
        return Keeper(model, trust, guards, limits_of(model.card, guards, false_alarms))  # type: ignore[arg-type]
    if not isinstance(getattr(model, "rig", None), Rig):
        raise CheckpointError(f"{run} does not drive through sensors: make such a run with stalwart drive fit.")
    for guard in guards:
        expect_choice("a learned driver's guard", guard, tuple(_GUARDS))
    for guard, guarded in _GUARDS.items():
        model = guarded(model).eval() if guard in guards else model
    return model


def drive_attack(
    driver: str | Path | nn.Module,
    attacks: Sequence[str | Tamper] = ("poster()",),
    suite: str | Sequence[str] = SUITE,
    *,
    trust: str = "camera",
    guards: Sequence[str] = (),
    false_alarms: float = 0.05,
    seconds: float = 30.0,
    seed: int = 0,
    out: Path | None = None,
) -> Iterator[Event]:
    """Drive a suite untouched, under each attack, and under each attack's controls; all on the same seeds.

    Attacks are fitted on maps of the train split and drive on those of the test split.

    Args:
        driver: a run folder, or a `sensing.SensorPolicy`.
        attacks: of the room `tampers`.
        suite: as `drive.score` takes it.
        trust, guards, false_alarms: of a camera stack; see `policy_of` and `drive.stack.keeper.Keeper`.
        seconds: of each drive at most.
        out: a JSON file for all figures.

    Yields:
        start, progress (unit 'drives'), note, saved, and one result: `clean`, and for each of `attacks` its figures,
        its `controls` by name, and `said`, the verdict in words. Figures: collisions per km with Garwood's interval,
        median seconds to the collision, completion, CARLA's score with its 95 % interval (Student's t over drives), red
        lights and stop signs run, share of drives in which a guard was in doubt, and for attacks `pairs`: by control,
        drives that crash under the attack alone, under the control alone, and the exact sign test's p.

    Raises:
        InputError: no such run, attack, suite or guard; an attack that this stack cannot suffer.
    """
    tampers: list[Tamper] = [catalog.make(spelled, "tampers") for spelled in attacks]
    if not tampers:
        raise InputError("an attack in the loop needs at least one attack, such as 'poster()'. Got none.")
    if out is not None and out.is_dir():
        raise InputError(f"{out} must be the file to write the figures to. Got a folder.")
    spelled = SUITES.get(suite, (suite,)) if isinstance(suite, str) else tuple(suite)
    if not 0 < seconds <= 3600:
        raise InputError(f"seconds must lie in (0, 3600]. Got {seconds!r}.")
    scenarios_of(spelled)  # refuses what does not exist
    if isinstance(driver, nn.Module):
        policy, name = driver, type(driver).__name__
    else:
        policy, name = policy_of(driver, trust=trust, guards=guards, false_alarms=false_alarms), str(driver)
    return _attacked(Drives(policy, spelled, seed, seconds), name, tampers, out)


def _attacked(drives: Drives, name: str, tampers: Sequence[Tamper], out: Path | None) -> Iterator[Event]:
    begun = time.perf_counter()
    controls = [(tamper, dict(tamper.controls())) for tamper in tampers]
    total = 1 + len({spell(t) for tamper, plain in controls for t in (tamper, *plain.values())})
    yield Event("start", {"what": "drive_attack", "driver": name, "suite": list(drives.suite), "total": total,
                          "unit": "suites", "attacks": [spell(t) for t in tampers]})  # fmt: skip
    clean = drives.of(None)
    yield _progress(drives, total, begun)
    yield Event("note", {"message": f"clean: {_told(clean)}"})
    rows = []
    for tamper, plain in controls:
        beside = {}
        for control, one in plain.items():
            beside[control] = drives.of(one)
            yield _progress(drives, total, begun)
            yield Event("note", {"message": f"{control}: {_told(beside[control])}"})
        found = drives.of(tamper)
        yield _progress(drives, total, begun)
        pairs = {other: paired(found, figures) for other, figures in {"clean": clean, **beside}.items()}
        row = {"attack": spell(tamper), **found, "controls": beside, "pairs": pairs}
        row["said"] = said(row, clean)
        yield Event("note", {"message": row["said"]})
        rows.append(row)
    policy = drives.policy
    values = {
        "kind": "drive_attack", "driver": name, "suite": list(drives.suite), "seed": drives.seed,
        "trust": getattr(policy, "trust", ""), "guards": list(getattr(policy, "guards", ())),
        "clean": clean, "attacks": rows, "seconds": time.perf_counter() - begun,
    }  # fmt: skip
    if out is not None:
        atomic.write_json(out, values)
        yield Event("saved", {"path": str(out)})
    yield Event("result", values)


class Drives:
    """A suite driven once for each change; what was driven already is not driven again."""

    def __init__(self, policy: Any, suite: tuple[str, ...], seed: int, seconds: float = 60.0) -> None:
        self.policy, self.suite, self.seed, self.seconds = policy, suite, seed, seconds
        self.done: dict[str, dict[str, Any]] = {}

    def of(self, tamper: Tamper | None) -> dict[str, Any]:
        key = "" if tamper is None else spell(tamper)
        if key not in self.done:
            self.done[key] = self.driven(None if tamper is None else self.made(tamper))
        return self.done[key]

    def made(self, tamper: Tamper) -> Change:
        """The tamper's change, fitted on the same scenarios on maps of the train split."""
        subject = Subject(self.policy, self.suite, seed_of(self.seed, "practice") % 2**31)
        change: Change = tamper.against(subject, seed_of(self.seed, "attack") % 2**31)
        return change

    def driven(self, change: Change | None, watch: Callable[[SensorDriver, int], None] | None = None) -> dict[str, Any]:
        """The suite's figures under a change.

        Args:
            watch: called with the driver and the number of the step after each step of the suite's last scenario.
        """
        hands: list[SensorDriver] = []

        def maker(world: Worlds) -> SensorDriver:
            hands.append(driver_of(world, self.policy, change))
            return hands[-1]

        found = self.judged(maker, watch and (lambda tick: watch(hands[-1], tick)))
        if hasattr(self.policy, "doubted"):
            counts = [self.policy.doubted(one.memory) for one in hands if one.memory is not None]
            found["doubted"] = {
                guard: float(np.mean(np.concatenate([count[guard] > 0 for count in counts]))) for guard in counts[0]
            }
        return found

    def judged(
        self, maker: Callable[[Worlds], Callable[[], Any]], watch: Callable[[int], None] | None = None
    ) -> dict[str, Any]:
        """The suite's figures of any driver; `watch` is told each step of the last scenario."""
        episodes: list[Episode] = []
        steps, begun, aside = 0, time.process_time(), 0.0
        scenarios = scenarios_of(self.suite)
        for number, scenario in enumerate(scenarios):
            stage = scenario.stage("test", self.seed)
            stage = dataclasses.replace(stage, seconds=min(stage.seconds, self.seconds))
            log = Log(stage)
            for tick, _ in enumerate(drive(stage, maker(stage.world), log)):
                steps += stage.world.worlds
                if watch is not None and number + 1 == len(scenarios):
                    since = time.process_time()
                    watch(tick)
                    aside += time.process_time() - since
            episodes += log.episodes(spell(scenario))
        told = figures(episodes)
        crashes = [one.collision is not None for one in episodes]
        scores = [one.carla for one in episodes]
        carla, *carla_95 = student(scores)
        kilometres, hits = told["km"], sum(crashes)
        late = [one.seconds for one in episodes if one.collision is not None]
        return {
            "drives": len(episodes), "km": kilometres, "collisions": hits,
            "collisions_per_km": hits / kilometres,
            "collisions_per_km_95": list(poisson_interval(hits, kilometres)),
            "seconds_to_collision": float(np.median(late)) if late else None,
            "completion": told["mean_completion"], "carla": carla, "carla_95": carla_95,
            "timeouts": told["timeouts"], "red_lights": told["red_lights"], "stop_signs": told["stop_signs"],
            "crashed": crashes,
            "steps": steps, "cpu_s": time.process_time() - begun - aside, "doubted": {},
        }  # fmt: skip


def said(row: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    """One or two sentences: what the attack brought, and whether it is more than its controls bring."""
    told = f"{row['attack']}: {_told(row)}; untouched {clean['collisions_per_km']:.2f} per km"
    beaten = []
    for name, control in row["controls"].items():
        apart = row["collisions_per_km_95"][0] > control["collisions_per_km_95"][1]
        told += f", {name} {control['collisions_per_km']:.2f}"
        if not apart:
            beaten.append(name)
    if beaten:
        return told + f". No worse than {' and '.join(beaten)}, as far as these drives tell."
    if not row["controls"] and not row["collisions_per_km_95"][0] > clean["collisions_per_km_95"][1]:
        return told + ". No worse than the clean drive, as far as these drives tell."
    return told + "."


def _told(figures: Mapping[str, Any]) -> str:
    low, high = figures["collisions_per_km_95"]
    run = sum(figures.get(name, 0) for name in ("red_lights", "stop_signs"))
    return (
        f"{figures['collisions']} of {figures['drives']} drives crash, {figures['collisions_per_km']:.2f} per km "
        f"({low:.2f} to {high:.2f}), driving score {figures['carla']:.3f}"
        + (f", {run} red lights or stop signs passed" if run else "")
    )


def paired(attacked: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Drives of the same seed against each other; p by the exact two-sided sign test (McNemar 1947)."""
    pairs = list(zip(attacked["crashed"], other["crashed"], strict=True))
    more, less = (sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
    return {"alone": more, "other_alone": less, "p": sign_test(more, less)}


def _progress(drives: Drives, total: int, begun: float) -> Event:
    done = len(drives.done)
    rate = done / max(time.perf_counter() - begun, 1e-9)
    return Event("progress", {"done": done, "total": total, "unit": "suites", "rate": rate,
                              "left_s": max(total - done, 0) / rate})  # fmt: skip

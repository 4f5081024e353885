"""A driver through two cameras and a LiDAR, taught by the rule-based expert; then scored beside the baselines.

    python recipes/driver_student.py [OUT] [cpu | gpu]

`cpu`: five stages, 895, 670, 329, 409 and 2,499 CPU s on one thread of a loaded 2-core x86-64 CPU, 2026-11-29, 80
minutes of processor time and 96 by the clock, n = 1. In 240 drives of 60 s on test maps that driver completes 97.9 % of
its way and has CARLA's score 0.955, `brake` 0.937: docs/results.md, "The student from nothing in one go".

`gpu` takes ten times the steps, five times the worlds and twice the network, for one card; the worlds still step on the
processor. It was not run: no card was at hand.

First all families of roads alike; then those that go wrong longest; then the second camera, which reads signal heads
and signs, alone; then all of it together, with the hard families twice. Each step is learned from once. A run that was
stopped goes on from its last chapter. OUT/whole is the driver. The suites that this file scores it on are shortened to
drives of 30 s; `stalwart drive score --suite free` drives all of it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import stalwart
from stalwart.drive import score
from stalwart.drive.sensing import SensorDriver
from stalwart.run.drive_train import Teaching, drive_train

FAMILIES = ("town", "town", "crossroads", "roundabout", "roundabout", "rural", "motorway")
"""Of the last stage: what is named twice has twice the worlds."""
STREETS = ("town", "crossroads", "roundabout", "rural")
WEAK = ("town", "motorway", "crossroads")
STAGES = {
    "all": Teaching(),
    "streets": Teaching(steps=96_000, chapters=8, families=STREETS, lr=1e-3, seed=1),
    "weak": Teaching(steps=48_000, worlds=8, chapters=5, families=WEAK, lr=7e-4, seed=2),
    "seeing": Teaching(steps=60_000, worlds=8, chapters=6, families=tuple(sorted(set(FAMILIES))), lr=4e-3, seed=1,
                       only=("lookout",)),
    "whole": Teaching(steps=210_000, worlds=4, chapters=15, families=FAMILIES, lr=1e-3, seed=3, expert=1 / 15),
}  # fmt: skip
SEEING = ("seeing", "whole")
"""Stages of a driver with the second camera."""
SUITE = [f"free(roads={family!r}, worlds=4, seconds=30)" for family in sorted(set(FAMILIES))]


def main(out: str = "runs/student", plan: str = "cpu") -> None:
    if plan not in ("cpu", "gpu"):
        raise SystemExit(f"driver_student: the plan must be cpu or gpu. Got {plan!r}.")
    run, large = Path(out), plan == "gpu"
    size = "features=32, height=96, width=144, " if large else ""
    begun, before = time.process_time(), ""
    for part, how in STAGES.items():
        model = f"driver({size}lookout={part in SEEING})"
        if large:
            how = replace(how, steps=10 * how.steps, worlds=5 * how.worlds, device="cuda")
        how = replace(how, start=before)
        before = str(run / part)
        for event in drive_train(model, settings=how, out=run / part, resume=(run / part).exists()):
            if event.kind == "epoch":
                print(f"{time.process_time() - begun:.0f} CPU s: {event.values}", flush=True)
    policy: Any = stalwart.load(before)
    drivers: dict[str, Any] = {name: name for name in ("lane", "brake", "expert")}
    for name, without in (("student", None), ("camera alone", "lidar"), ("LiDAR alone", "camera")):
        rig = replace(policy.rig, without=without)
        drivers[name] = lambda world, rig=rig: SensorDriver(world, policy, rig)
    figures = {}
    for name, driver in drivers.items():
        found = list(score(driver, SUITE))[-1].values
        figures[name] = {key: value for key, value in found["all"].items() if not isinstance(value, list)}
        print(name, json.dumps(figures[name]), flush=True)
    (Path(before) / "results").mkdir(exist_ok=True)
    (Path(before) / "results" / "scores.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A driver through camera and LiDAR, taught by the rule-based expert; then scored beside the baselines.

Three stages of 2,383 CPU s in all, one loaded thread of a 2-core x86-64 CPU, 2026-11-28 and 29, n = 1: 120,000 steps
on all families of roads, then 96,000 and 48,000 on those where it was weak. A fourth gives it a second camera, which
learns alone to tell what rules at the next line. Drives of 60 s on test maps beside `brake` and others:
docs/results.md, "A second camera". The second camera's part of the driver measured there had other lessons, and this
file itself was not run to its end.

    python recipes/driver_student.py [OUT]

Each step is learned from once. OUT/seeing is the driver with both cameras. The suites are shortened to what a few
minutes can drive; `stalwart drive score --suite free` drives all of it.
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

FAMILIES = ("rural", "crossroads", "roundabout", "town", "motorway")
SUITE = [f"free(roads={family!r}, worlds=4, seconds=30)" for family in FAMILIES]


def main(out: str = "runs/student") -> None:
    run = Path(out)
    begun = time.process_time()
    stages = {
        "all": ("driver()", Teaching()),
        "streets": ("driver()", Teaching(
            steps=96_000, chapters=8, families=("town", "crossroads", "roundabout", "rural"), lr=1e-3, seed=1,
            start=str(run / "all"),
        )),
        "weak": ("driver()", Teaching(
            steps=48_000, worlds=8, chapters=5, families=("town", "motorway", "crossroads"), lr=7e-4, seed=2,
            start=str(run / "streets"),
        )),
        "seeing": ("driver(lookout=True)", Teaching(
            steps=48_000, worlds=8, chapters=6, families=FAMILIES, lr=4e-3, start=str(run / "weak"), only=("lookout",),
        )),
    }  # fmt: skip
    for part, (model, how) in stages.items():
        for event in drive_train(model, settings=how, out=run / part, resume=(run / part).exists()):
            if event.kind == "epoch":
                print(f"{time.process_time() - begun:.0f} CPU s: {event.values}", flush=True)
    policy: Any = stalwart.load(run / "seeing")
    drivers: dict[str, Any] = {name: name for name in ("lane", "brake", "expert")}
    for name, without in (("student", None), ("camera alone", "lidar"), ("LiDAR alone", "camera")):
        rig = replace(policy.rig, without=without)
        drivers[name] = lambda world, rig=rig: SensorDriver(world, policy, rig)
    figures = {}
    for name, driver in drivers.items():
        found = list(score(driver, SUITE))[-1].values
        figures[name] = {key: value for key, value in found["all"].items() if not isinstance(value, list)}
        print(name, json.dumps(figures[name]), flush=True)
    (run / "seeing" / "results").mkdir(exist_ok=True)
    (run / "seeing" / "results" / "scores.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A driver through camera and LiDAR, taught by the rule-based expert; then scored beside the baselines.

Seed 0, one loaded thread of a 2-core x86-64 CPU, 2026-11-28, 1,025 CPU s of training, twenty drives of 30 s on test
maps: completion 98.7 %, CARLA's driving score 0.939 (`brake` 0.960, `expert` 1.000), 1 collision, 2 red lights. It
keeps its lane and sees others by its LiDAR, but does not tell red from green, and in drives of 60 s in towns completes
72 %: docs/results.md, "The learned driver" and "A second camera". The figures are those of the first stage's steps by
`stalwart drive train` and `drive.score`; a second stage as long as here was not measured, and this file itself was not
run to its end.

    python recipes/driver_student.py [OUT]

120,000 steps in ten chapters, six worlds of each of five families of roads, seed 0; each step is learned from once.
Then a second camera is added, which learns alone to tell what rules at the next line: OUT/seeing is the driver with
both. The suites are shortened to what a few minutes can drive; `stalwart drive score --suite free` drives all of it.
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
    looking = Teaching(
        steps=48_000, worlds=8, chapters=6, families=FAMILIES, lr=4e-3, start=str(run / "blind"), only=("lookout",)
    )
    for model, how, part in (
        ("driver()", Teaching(), run / "blind"), ("driver(lookout=True)", looking, run / "seeing"),
    ):  # fmt: skip
        for event in drive_train(model, settings=how, out=part, resume=part.exists()):
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

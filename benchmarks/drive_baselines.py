"""Baseline drivers over all suites, and what the critical situations look like from above.

python benchmarks/drive_baselines.py docs/images/driving-baselines.png --keep runs/baselines

Each scenario's figures are kept in a folder as soon as they are there, and not driven again. The bars are the share of
drives that reach the goal without a collision, red light, stop sign, wrong way or leaving the road. Each situation is
shown half a second before the end of the first drive in which lane keeping + IDM fails, or halfway through one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from stalwart.core.spelling import spell
from stalwart.drive import replay, score
from stalwart.drive.scenarios.suites import SUITES, scenarios_of
from stalwart.drive.topdown import draw, route_of

mpl.use("agg")
from matplotlib import pyplot as plt

DRIVERS = {"lane": "#9aa3af", "brake": "#e0a33a", "expert": "#2f6fdb"}
_SUITES = ("free", "critical", "eu_cut_in")
_BEFORE = 5
"""Ticks before a drive's end."""


def driven(driver: str, suite: str, keep: Path) -> Iterator[dict[str, Any]]:
    """Each scenario's result, as `drive.score` gives it, from the folder where it is there."""
    folder = keep / f"{driver}-{suite}-test"
    folder.mkdir(parents=True, exist_ok=True)
    for k, scenario in enumerate(scenarios_of(suite)):
        file = folder / f"{k:02}.json"
        if not file.exists():
            file.write_text(json.dumps(list(score(driver, [spell(scenario)]))[-1].values))
        yield json.loads(file.read_text())


def clean(driver: str, keep: Path) -> dict[str, tuple[int, int]]:
    """(clean drives, drives) by family of roads or scenario."""
    found: dict[str, tuple[int, int]] = {}
    for suite in _SUITES:
        for result, scenario in zip(driven(driver, suite, keep), scenarios_of(suite), strict=True):
            name = f"free: {scenario.roads}" if suite == "free" else type(scenario).__name__
            good, count = found.get(name, (0, 0))
            drives = len(result["episodes"])
            found[name] = good + drives - len(result["failures"]), count + drives
    return found


def moment(result: dict[str, Any]) -> NDArray[np.uint8]:
    """From above, shortly before the end of the first drive that failed."""
    (spelled,) = result["scenarios"]
    index = result["failures"][0]["world"] if result["failures"] else 0
    last = round(result["episodes"][index]["seconds"] / 0.1) - _BEFORE
    last = last if result["failures"] else last // 2
    world = next(world for tick, world in enumerate(replay("lane", spelled)) if tick >= last)
    return draw(world.scene(64), index, size_px=220, across_m=64.0, route_m=route_of(world, index))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--keep", type=Path, required=True, help="folder for the figures of each scenario")
    given = parser.parse_args()
    shares = {driver: clean(driver, given.keep) for driver in DRIVERS}
    figure = plt.figure(figsize=(11, 8.6), dpi=100)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    axes = top.subplots()
    names = list(shares["lane"])
    for k, (driver, colour) in enumerate(DRIVERS.items()):
        values = [100 * shares[driver][name][0] / shares[driver][name][1] for name in names]
        axes.bar(np.arange(len(names)) + 0.27 * (k - 1), values, 0.25, color=colour, label=driver)
        print(driver, {name: shares[driver][name] for name in names})
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=32, ha="right", fontsize=8)
    axes.set_ylabel("clean drives, %")
    axes.set_ylim(0, 105)
    axes.spines[["top", "right"]].set_visible(False)
    top.legend(loc="upper right", ncols=3, frameon=False, fontsize=9)
    top.subplots_adjust(left=0.06, right=0.99, bottom=0.34, top=0.9)
    panels = bottom.subplots(2, 5).ravel()
    for panel, spelled, result in zip(panels, SUITES["critical"], driven("lane", "critical", given.keep), strict=True):
        panel.imshow(moment(result))
        panel.set_title(spelled.partition("(")[0].replace("_", " "), fontsize=9)
        panel.axis("off")
    bottom.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.93, wspace=0.03, hspace=0.14)
    figure.savefig(given.file)
    print(given.file)


if __name__ == "__main__":
    main()

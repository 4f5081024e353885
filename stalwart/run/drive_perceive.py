"""How well a driver perceives the world around it, apart from how it drives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.lessons import FAMILIES, SEEDS, Answers, Lessons
from stalwart.drive.sensing import Acted, Sensed
from stalwart.store import checkpoint

SENSORS = ("both", "camera", "lidar")
_EVERY = 5
_BINS, _MOST = 401, 20.0
"""Agents' logits are counted in so many bins up to so far."""


class Tally:
    """Sums over moments, from which the figures come."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.true, self.false = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)

    def note(self, sensed: Sensed, acted: Acted, right: Answers) -> None:
        """Add one moment of W worlds."""
        seen = acted.perceived
        for name, logits, truth in (
            ("drivable", seen.drivable, right.drivable), ("route", seen.route, right.route),
            ("agents", seen.agents, right.agents),
        ):  # fmt: skip
            found, there = logits > 0, truth > 0
            self._add(f"{name}_both", (found & there).sum())
            self._add(f"{name}_either", (found | there).sum())
        there = right.agents > 0
        place = ((seen.agents.clamp(-_MOST, _MOST) / _MOST + 1) / 2 * (_BINS - 1)).round().long()
        self.true += _counts(place[there])
        self.false += _counts(place[~there])
        off = (seen.velocity - right.velocity).norm(dim=1)
        self._add("velocity_mps", off[there].sum())
        self._add("agents", there.sum())
        same, ruled = seen.signal.argmax(1) == right.signal, right.signal > 0
        for name, which in (("ruled", ruled), ("free", ~ruled)):
            self._add(f"signal_{name}", same[which].sum())
            self._add(name, which.sum())
        self._add("line_m", (seen.line_m - right.line_m).abs()[ruled].sum())
        mapped = sensed.own[:, 4:].reshape(len(sensed.own), -1, 2)
        for name, points in (("aside_m", acted.waypoints), ("map_aside_m", mapped)):
            self._add(name, (points[:, 1, 1] - right.waypoints[:, 1, 1]).abs().sum())
        self._add("moments", torch.tensor(len(sensed.own)))

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def figures(self) -> dict[str, float]:
        """See `drive_perceive`."""
        s = self.sums
        true, false = (np.cumsum(part[::-1]) for part in (self.true, self.false))
        precision = true / np.maximum(true + false, 1)
        recall = true / max(true[-1], 1)
        steps = np.diff(recall, prepend=0.0)
        shares = {
            f"{name}_iou": s[f"{name}_both"] / max(s[f"{name}_either"], 1.0) for name in ("drivable", "route", "agents")
        }
        return {
            **shares, "agents_ap": float((steps * precision).sum()),
            "velocity_error_mps": s["velocity_mps"] / max(s["agents"], 1.0),
            "signal_accuracy": s["signal_ruled"] / max(s["ruled"], 1.0),
            "no_signal_accuracy": s["signal_free"] / max(s["free"], 1.0),
            "line_error_m": s["line_m"] / max(s["ruled"], 1.0), "aside_error_m": s["aside_m"] / s["moments"],
            "map_aside_error_m": s["map_aside_m"] / s["moments"], "moments": s["moments"],
        }  # fmt: skip


def _counts(places: Tensor) -> NDArray[np.int64]:
    return np.bincount(places.numpy(), minlength=_BINS)[:_BINS].astype(np.int64)


def drive_perceive(
    run: str | Path, *, styles: tuple[str, ...] = ("sun", "night", "dusk", "fog"), split: str = "test", worlds: int = 4,
    steps: int = 100, seed: int = 0, sensors: str = "both", families: tuple[str, ...] = tuple(FAMILIES),
) -> Iterator[Event]:  # fmt: skip
    """Measure what a driver perceives while the expert drives on maps of a split, in each of some weathers.

    Args:
        worlds: of each family of roads, side by side.
        steps: of a tenth of a second in each weather; every fifth is measured.
        sensors: 'both', or 'camera' or 'lidar' alone.
        families: of roads, by name.

    Yields:
        start, progress (unit 'weathers'), result (kind 'drive_perceive') with the figures of each weather: intersection
        over union of drivable ground, route and agents in cells of a metre; the agents' average precision, cell by
        cell; mean error of their velocity [m/s], where they are; share of moments with a rule ahead in which it is
        named, and without in which none is; mean error of the way to its line [m]; mean error of where the route lies
        5 m ahead, to the side [m], beside the map's.

    Raises:
        InputError: a value out of range, or a run that is no driver.
    """
    expect_choice("drive_perceive(split=...)", split, tuple(SEEDS))
    expect_choice("drive_perceive(sensors=...)", sensors, SENSORS)
    for family in families:
        expect_choice("drive_perceive(families=...)", family, tuple(FAMILIES))
    policy: Any = checkpoint.load(run)
    if not hasattr(policy, "rig"):
        raise InputError(f"{run} holds no driver through sensors but {policy.card['model']}.")
    without: Any = {"both": None, "camera": "lidar", "lidar": "camera"}[sensors]
    rig = replace(policy.rig, without=without)
    yield Event("start", {"what": "drive_perceive", "total": len(styles), "unit": "weathers", "driver": str(run)})
    begun, found = time.perf_counter(), {}
    for number, style in enumerate(styles):
        lessons = Lessons(rig, worlds, seed_of(seed, "perceive") >> 2, split=split, styles=(style,), families=families)
        found[style] = _measured(policy, lessons, steps).figures()
        rate = (number + 1) / (time.perf_counter() - begun)
        yield Event("progress", {"done": number + 1, "total": len(styles), "unit": "weathers", "rate": rate})
    yield Event("result", {"kind": "drive_perceive", "driver": str(run), "split": split, "seed": seed,
                           "sensors": sensors, "families": list(families), "styles": found})  # fmt: skip


def _measured(policy: Any, lessons: Lessons, steps: int) -> Tally:
    tally = Tally()
    memory: Tensor | None = None
    for tick in range(steps):
        sensed, right = lessons.sense()
        with torch.inference_mode():
            acted, memory = policy(sensed, memory)
        if tick % _EVERY == _EVERY - 1:
            tally.note(sensed, acted, right)
        over = lessons.step(right.controls.numpy())
        memory = memory * torch.from_numpy(~over).to(memory)[:, None]
    return tally

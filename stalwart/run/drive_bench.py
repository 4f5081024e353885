"""How fast the driving world is on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import numba
import numpy as np

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.drive.dressing import Dressed
from stalwart.drive.recording import Setting
from stalwart.drive.sensors import camera, lidar

BOXES = 24
"""Boxes of a scene besides the agents."""


def drive_bench(setting: Setting, seconds: float = 2.0) -> Iterator[Event]:
    """Measure traffic without sensors, a camera of 64 × 96 (RGB, depth, class, instance) and a LiDAR of 16 × 256.

    Args:
        seconds: how long each is measured, after a first call that may compile.

    Yields:
        start, note, progress, result (kind 'drive_bench'): agent steps, frames and scans in a second, with what is
        measured and on how many threads.

    Raises:
        InputError: seconds of 0 or below, or a setting that cannot be.
    """
    if not 0 < seconds <= 600:
        raise InputError(f"seconds must be above 0 and at most 600. Got {seconds!r}.")
    yield Event("start", {"what": "measure", "total": 3, "unit": "parts"})
    yield Event("note", {"message": "kernels compile at the first call, a minute or two; they are kept after that."})
    world = setting.build()
    still = np.zeros((world.worlds, 1, 2), np.float32)
    dressed = Dressed(world, boxes=world.state.agents + BOXES)
    eye, ear = camera.Camera(), lidar.Lidar()
    frames, heard = camera.room(eye, world.worlds), lidar.room(ear, world.worlds)
    scene = dressed.scene()
    parts: list[tuple[str, int, Callable[[], object]]] = [
        ("agent_steps_per_s", world.worlds * world.state.agents, lambda: world.step(still)),
        ("frames_per_s", world.worlds, lambda: camera.see(scene, eye, out=frames)),
        ("scans_per_s", world.worlds, lambda: lidar.scan(scene, ear, out=heard)),
    ]
    found: dict[str, float] = {}
    for done, (name, amount, work) in enumerate(parts):
        found[name] = amount * _rate(work, seconds)
        scene = dressed.scene()
        yield Event("progress", {"done": done + 1, "total": len(parts), "unit": "parts"})
    yield Event("result", {
        "kind": "drive_bench", **found, "worlds": world.worlds, "agents": world.state.agents, "boxes": scene.boxes,
        "camera": f"{eye.height} × {eye.width}", "lidar": f"{ear.channels} × {ear.azimuths}", "roads": setting.roads,
        "threads": numba.get_num_threads(), "cores": os.cpu_count() or 1,
    })  # fmt: skip


def _rate(work: Callable[[], object], seconds: float) -> float:
    """Calls in a second, the first one not counted."""
    work()
    begun, calls = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < seconds or calls == 0:
        work()
        calls += 1
    return calls / taken if taken > 0 else float("inf")

"""What attacks on the learned driver's sensors do to its drives, with and without guards; controls on the same seeds.

`python benchmarks/student_attack.py --run RUN --out OUT.json --parts none apart ...`; RUN is one of `stalwart drive
train`. A part is the driver as it is made: 'none' without a guard, 'camera' with its cameras alone, any other the guard
of that name. Posters and overlays are fitted to each part's own driver, guard included, on maps of the train split.
Rows that OUT holds already are not driven again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stalwart.core import catalog
from stalwart.drive.adversaries.changes import Change
from stalwart.drive.adversaries.subject import Subject
from stalwart.drive.stack.apart import Alone
from stalwart.run.drive_attack import Drives, policy_of

SUITE = "stopped_vehicle(speed_kmh=(40, 60), distance_m=(60,), aside_m=(0,), maps={}, kind='van')"
PRACTICE = ("stopped_vehicle(speed_kmh=(40, 60), distance_m=(60,), aside_m=(0, -0.5), maps=2, kind='van')",)
SECONDS = 12.0


def driver(run: str, part: str) -> Any:
    if part == "camera":
        return Alone(policy_of(run), "lidar").eval()
    return policy_of(run, guards=() if part == "none" else part.split("+"))


def main() -> None:
    asked = argparse.ArgumentParser(description="Attacks on the learned driver.")
    asked.add_argument("--run", required=True)
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--parts", nargs="+", default=["none", "apart"])
    asked.add_argument("--rows", nargs="+", default=["poster(picture='grey')", "poster(picture='random')", "poster()"])
    asked.add_argument("--suite", nargs="+", help="Other scenarios than a van in the lane, as spelled.")
    asked.add_argument("--maps", type=int, default=12, help="Twice as many drives.")
    asked.add_argument("--seconds", type=float, default=SECONDS)
    given = asked.parse_args()
    torch.set_num_threads(1)
    suite = tuple(given.suite or [SUITE.format(given.maps)])
    measure(given.run, given.out, given.parts, ["clean", *given.rows], suite, given.seconds)


def measure(run: str, out: Path, parts: Sequence[str], rows: Sequence[str], suite: tuple[str, ...], seconds: float,
            ) -> None:  # fmt: skip
    """Drive what `out` does not hold yet, and write it there."""
    held = json.loads(out.read_text()) if out.exists() else {}
    for part in parts:
        policy = driver(run, part)
        drives, subject = Drives(policy, suite, 0, seconds), Subject(policy, PRACTICE, 1)
        for spelled in rows:
            name = f"{part}: {spelled}"
            if name in held:
                continue
            begun = time.process_time()
            change: Change | None = None
            if spelled != "clean":
                change = catalog.make(spelled, "tampers").against(subject, 0)
            fitting = time.process_time() - begun
            held[name] = {**drives.driven(change), "fitting_cpu_s": fitting}
            out.write_text(json.dumps(held, indent=1))
            shown = {key: value for key, value in held[name].items() if key != "crashed"}
            print(name, shown, flush=True)


if __name__ == "__main__":
    main()

"""What attacks on a camera stack's sensors do to its drives, with and without guards; controls on the same seeds.

`python benchmarks/drive_attack.py [--run RUN] [--out OUT.json] [--parts camera guarded frames ...] [--maps 12]`; RUN is
one of `stalwart drive fit`, made anew where none is named: a hardened one is attacked by what is fitted to it. The
poster is fitted once, against the camera stack on maps of the train split, and kept beside OUT. `guarded` is the stack
with a LiDAR and the guards 'consistency' and 'physics'; its adversary knows both: it takes echoes away as well and puts
ground in their place. `input` is the camera stack under that guard, attacked by who does not know it and by who does
(`quiet`). `frames` changes every picture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from stalwart.core import catalog
from stalwart.drive.adversaries.changes import Change, Joined
from stalwart.drive.adversaries.posters import Hung
from stalwart.drive.adversaries.subject import Subject
from stalwart.run.drive_attack import Drives, policy_of
from stalwart.run.drive_fit import Lessons, drive_fit

SUITE = "stopped_vehicle(speed_kmh=(40, 60), distance_m=(60,), aside_m=(0,), maps={maps}, kind='van')"
PRACTICE = ("stopped_vehicle(speed_kmh=(40, 60), distance_m=(60,), aside_m=(0, -0.5), maps=2, kind='van')",)
SECONDS = 18.0
PARTS = ("camera", "guarded", "input", "frames", "overlay", "road", "board", "echoes", "faults")
STACKS: dict[str, dict[str, Any]] = {
    "guarded": {"guards": ("consistency", "physics")}, "input": {"guards": ("input",)}, "echoes": {"trust": "lidar"},
}  # fmt: skip
"""How the stack is made where it is not the camera alone."""
SIZE_M = (1.7, 1.4)


def fitted(run: str, place: Path) -> Hung:
    if not place.exists():
        subject = Subject(policy_of(run), PRACTICE, 1)
        hung = catalog.make("poster()", "tampers").against(subject, 0)
        save_file({"picture": hung.picture.contiguous()}, place)
    return Hung(load_file(place)["picture"], "back", SIZE_M)


def rows(run: str, which: str, place: Path) -> dict[str, Callable[[], Change | None]]:
    """The drives of a part by name, each made when it is asked for."""
    subject = Subject(policy_of(run, **STACKS.get(which, {})), PRACTICE, 1)

    def made(spelled: str) -> Change:
        change: Change = catalog.make(spelled, "tampers").against(subject, 0)
        return change

    def moved(points: int) -> Change:
        return Joined([fitted(run, place), made(f"removal(window_deg=10, points={points}, mimic=True)")])

    spelled: list[str] = []
    more: dict[str, Callable[[], Change | None]] = {}
    match which:
        case "camera":
            spelled = [f"poster(picture={name!r})" for name in ("grey", "random")]
            more = {"poster": lambda: fitted(run, place)}
        case "guarded":
            more = {
                "poster": lambda: fitted(run, place), "poster and 28 echoes": lambda: moved(28),
                "poster and all echoes": lambda: moved(200),
            }  # fmt: skip
        case "input":
            pgd, film = "camera(linf(4/255), pgd(steps=10), quiet={})", "overlay(linf(8/255), quiet={})"
            more = {"poster": lambda: fitted(run, place)}
            spelled = [one.format(quiet) for one in (pgd, film) for quiet in (0.0, 1.0)]
            spelled += ["poster(quiet=1.0)", "poster(picture='grey')", "camera(linf(4/255), None)"]
        case "frames":
            spelled = [f"camera(linf({e}/255), {a})" for e in (4, 1) for a in ("None", "pgd(steps=10)")]
        case "overlay":
            spelled = ["camera(linf(8/255), None)", "overlay(linf(8/255))", "overlay(linf(4/255))"]
        case "road" | "board":
            spelled = [f"poster({which!r}, {name!r})" for name in ("grey", "random", "fitted")]
        case "echoes":
            spelled = ["spoof(random=True)", "spoof()", "removal(random=True)", "removal()"]
        case _:
            spelled = [f"fault({kind!r})" for kind in ("dirty_lens", "dead_pixels", "blackout", "frozen_frame")]
    return {"clean": lambda: None, **more, **{one: partial(made, one) for one in spelled}}


def main() -> None:
    asked = argparse.ArgumentParser(description="Attacks on a camera stack in the loop.")
    asked.add_argument("--run", default="")
    asked.add_argument("--out", type=Path, default=Path("drive_attack.json"))
    asked.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS[:2])
    asked.add_argument("--maps", type=int, default=12, help="of the test split; two drives on each")
    given = asked.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or f"{folder}/sight"
        if not given.run:
            list(drive_fit(run, Lessons(epochs=3)))
        measure(run, given.out, given.parts, given.maps)


def measure(run: str, out: Path, parts: Sequence[str], maps: int) -> None:
    """Drive what `out` does not hold yet, and write it there."""
    held = json.loads(out.read_text()) if out.exists() else {}
    for part in parts:
        drives = Drives(policy_of(run, **STACKS.get(part, {})), (SUITE.format(maps=maps),), 0, SECONDS)
        for name, make in rows(run, part, out.with_suffix(".safetensors")).items():
            row = f"{part if part in STACKS or name != 'clean' else 'camera'}: {name}"  # clean drives are a stack's
            if row in held:
                continue
            found = held[row] = drives.driven(make())
            out.write_text(json.dumps(held, indent=1))
            print(part, name, {key: value for key, value in found.items() if key != "crashed"}, flush=True)


if __name__ == "__main__":
    main()

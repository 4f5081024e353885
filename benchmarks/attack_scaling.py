"""One process against two under torchrun, at the same threads a process: how much faster is an evaluation?

    python benchmarks/attack_scaling.py RUN [--limit 512] [--batch 32] [--turns 3] [--processes 2]

The claim: two processes on two free cores evaluate at 1.7 times the speed of one or more, and come to the same figures.
Times are wall seconds of the attack alone, as its result says them, without the start of Python; the turns alternate
and the fastest of each counts. On a machine that others use, the figure says little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def evaluated(run: Path, processes: int, options: list[str]) -> dict[str, Any]:
    """The attack's result, as the first process says it."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "stalwart", "attack", str(run), *options, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return next(event for event in events if event["kind"] == "result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--attack", default="pgd(steps=20)")
    parser.add_argument("--threat", default="linf(1/255)")
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    options = ["--attack", given.attack, "--threat", given.threat, "--limit", str(given.limit)]
    options += ["--batch", str(given.batch), "--audit", "0", "--fresh"]
    times: dict[int, list[float]] = {1: [], given.processes: []}
    figures = {}
    for _ in range(given.turns):
        for processes, seconds in times.items():
            result = evaluated(given.run, processes, options)
            seconds.append(result["seconds"])
            figures[processes] = {name: result[name] for name in ("robust_accuracy", "forwards", "backwards")}
    one, many = (min(seconds) for seconds in times.values())
    print(f"{given.attack} under {given.threat}, {given.limit} images, batches of {given.batch}, one thread a process")
    for processes, seconds in times.items():
        print(f"{processes} process{'es' if processes > 1 else ''}: {', '.join(f'{s:.2f}' for s in seconds)} s")
    print(f"{one / many:.2f} times as fast; the same figures: {figures[1] == figures[given.processes]}")


if __name__ == "__main__":
    main()

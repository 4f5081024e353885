"""The ladder of hardening on a CPU: one net, one number of steps, six objectives.

    python recipes/cifar10_ladder.py DATA [EPOCHS]      # DATA holds cifar-10-batches-py

JPEG CIFAR-10, 1 epoch, clean on n = 10,000 and robust under L∞ 8/255 by swift on n = 500, seed 0, one thread of an
AMD EPYC with AVX2, 2026-11-25: plain 62.1 / 0.0 %, FGSM-RS 43.4 / 24.6 %, PGD-AT 42.0 / 25.4 %, TRADES 45.7 / 22.6 %,
MART 40.9 / 25.2 %, TRADES+AWP (2026-11-28) 44.5 / 22.6 %; docs/results.md has the intervals, and what a whitened first
layer does to such training.

Each rung has its learning rate chosen among three on a fifth of the data, by robust accuracy on validation images (the
plain one by clean accuracy), then trains on all of it; swift attacks 500 test images, the same for all. A run that was
stopped goes on where it was: finished rungs stand in runs/cifar10-ladder/rungs.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import stalwart
from stalwart.core.memory import keep_memory
from stalwart.core.statistics import wilson

NET = "convnet(width=16)"
"""Without a whitened first layer: fastnet's raises what is faint in images, such as an attack's pattern, so much that
one-step training learns to see the attack."""
ATTACK = "attack=pgd(steps=5)"
LADDER = {
    "plain": "clean()",
    "FGSM-RS": "fast()",
    "PGD-AT": f"adversarial({ATTACK})",
    "TRADES": f"trades({ATTACK})",
    "MART": f"mart({ATTACK})",
    "TRADES+AWP": f"awp(trades({ATTACK}))",
}
RATES = (0.001, 0.003, 0.01)
ATTACKER, THREAT, ATTACKED = "swift()", "linf(8/255)", 500


def settings(rate: float, epochs: int, val: float) -> stalwart.Training:
    return stalwart.Training(
        epochs=epochs,
        batch=125,
        optimizer=f"adamw(lr={rate})",
        schedule="triangle(peak=0.2)",
        augments=("crop(2)", "altflip()"),
        val=val,
        precision="fp32",
    )


def score(data: str, objective: str, rate: float) -> float:
    """Of a net trained on a fifth of the data."""
    *_, result = stalwart.train(data, NET, objective=objective, settings=settings(rate, 1, 0.8))
    return float(result.values.get("robust_top1", result.values["val_top1"]))


def climb(data: str, objective: str, run: Path, epochs: int) -> dict[str, Any]:
    """Tune, train and attack one rung; what is done already is not done again."""
    kept, notes = run / "run", run / "notes.json"
    known: dict[str, Any] = json.loads(notes.read_text()) if notes.exists() else {}

    def note(name: str, value: Any, begun: float) -> None:
        known[name], known[f"{name}_cpu_s"] = value, time.process_time() - begun
        run.mkdir(parents=True, exist_ok=True)
        notes.write_text(json.dumps(known))

    if "tuned" not in known:
        begun = time.process_time()
        note("tuned", {str(rate): score(data, objective, rate) for rate in RATES}, begun)
    rate = float(max(known["tuned"], key=lambda name: known["tuned"][name]))
    if "trained" not in known:
        begun, how = time.process_time(), settings(rate, epochs, 0.02)
        going_on = (kept / "config.json").exists()
        for event in stalwart.train(data, NET, objective=objective, settings=how, out=kept, resume=going_on):
            if event.kind in ("epoch", "warning"):
                print(objective, dict(event.values), flush=True)
        note("trained", rate, begun)
    begun = time.process_time()
    *_, tested = stalwart.evaluate(kept, checkpoint="last")
    right, n = tested.values["figures"]["top1"], tested.values["n"]
    swift = stalwart.attack_run(kept, [ATTACKER], [THREAT], limit=ATTACKED, radii=(1.0,), checkpoint="last")
    *_, attacked = (event for event in swift if event.kind == "result")
    held = attacked.values["robust_accuracy"]
    note("clean", [right, n, *wilson(round(right * n), n)], begun)
    note("robust", [held, ATTACKED, *wilson(round(held * ATTACKED), ATTACKED)], begun)
    return {"objective": objective, **known}


def main(root: str, epochs: int = 1, out: str = "runs/cifar10-ladder") -> None:
    keep_memory()
    data, book = f"cifar10(root={root!r})", Path(out) / "rungs.json"
    rungs: dict[str, Any] = json.loads(book.read_text()) if book.exists() else {}
    for name, objective in LADDER.items():
        if name not in rungs:
            rungs[name] = climb(data, objective, Path(out) / name, epochs)
            book.write_text(json.dumps(rungs, indent=1))
        print(name, rungs[name], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))

"""Several learners, each with several seeds, and their curves with intervals."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stalwart.core import catalog
from stalwart.core.contracts import Event, Learner
from stalwart.core.errors import InputError
from stalwart.core.spelling import spell
from stalwart.core.statistics import student
from stalwart.run.learn import Practice, learn
from stalwart.store import atomic
from stalwart.store.folder import CONFIG, RunFolder

CURVES = "curves.png"


def contest(
    env: str,
    algos: Sequence[str | Learner],
    out: str | Path,
    *,
    seeds: int = 3,
    settings: Practice | None = None,
) -> Iterator[Event]:
    """Train every learner with every seed, each in a run folder of its own, and draw their courses.

    Runs that stand in `out` already go on, or are taken as they are, so the same call after a kill goes on.

    Args:
        seeds: how many, from the settings' seed on.
        out: gets ALGO-seed-N for each run, results.json, and curves.png.

    Yields:
        what the runs yield; a result for each learner with the mean of its seeds' mean returns and an interval by
        Student's t over seeds.

    Raises:
        InputError: a spelling, or a run that was begun with other settings.
    """
    if seeds < 1 or not algos:
        raise InputError(f"a comparison needs at least one learner and one seed. Got {len(algos)} and {seeds}.")
    how, to = settings or Practice(), Path(out)
    learners: dict[str, Learner] = {}
    for algo in algos:
        made = catalog.make(algo, "rl")
        learners[spell(made)] = made
    names = _names(list(learners))
    rows, courses = [], {}
    for spelled, learner in learners.items():
        finals: list[float] = []
        runs: list[list[tuple[int, float]]] = []
        seconds, taken = 0.0, 0
        for seed in range(how.seed, how.seed + seeds):
            folder = to / f"{names[spelled]}-seed-{seed}"
            settings_of = dataclasses.replace(how, seed=seed)
            for event in learn(env, learner, settings=settings_of, out=folder, resume=(folder / CONFIG).exists()):
                if event.kind == "result":
                    finals.append(float(event.values["mean_return"]))
                    seconds, taken = seconds + float(event.values["seconds"]), taken + int(event.values["steps"])
                    yield Event("result", {**event.values, "run": str(folder)})
                else:
                    yield event
            epochs = [e for e in RunFolder.open(folder).events() if e["kind"] == "epoch" and "mean_return" in e]
            runs.append([(int(e["steps"]), float(e["mean_return"])) for e in epochs])
        mean, low, high = student(finals)
        courses[spelled] = runs
        rows.append(
            {"algo": spelled, "mean_return": mean, "interval": [low, high], "seeds": seeds, "returns": finals,
             "steps_per_s": taken / seconds if seconds else None}
        )  # fmt: skip
    to.mkdir(parents=True, exist_ok=True)
    atomic.write_json(to / "results.json", {"env": env, "steps": how.steps, "learners": rows})
    atomic.write(to / CURVES, lambda path: _draw(path, env, courses))
    for row in rows:
        yield Event("result", {"kind": "contest", "env": env, **row})
    yield Event("saved", {"path": str(to / CURVES)})


def _names(spelled: list[str]) -> dict[str, str]:
    """A folder's name for each spelling; those of equal names are numbered."""
    short = [re.sub(r"[^\w.=]+", "-", text).strip("-")[:60] for text in spelled]
    return {
        text: name if short.count(name) == 1 else f"{name}-{number}"
        for number, (text, name) in enumerate(zip(spelled, short, strict=True))
    }


def _draw(path: Path, env: str, courses: dict[str, list[list[tuple[int, float]]]]) -> None:
    """Mean return over steps, with the 95 % interval over seeds as a band."""
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes: Any = figure.subplots()
    for spelled, runs in courses.items():
        steps = [step for step, _ in min(runs, key=len)]
        middle = [student([run[n][1] for run in runs]) for n in range(len(steps))]
        (line,) = axes.plot(steps, [mean for mean, _, _ in middle], marker=".", label=spelled)
        if len(runs) > 1:
            lows, highs = [low for _, low, _ in middle], [high for _, _, high in middle]
            axes.fill_between(steps, lows, highs, color=line.get_color(), alpha=0.2, linewidth=0)
    seeds = min(len(runs) for runs in courses.values())
    axes.set(xlabel="steps", ylabel="mean return of evaluation", title=f"{env}, n = {seeds} seeds, 95 % intervals")
    axes.legend()
    figure.savefig(path, dpi=120, format="png")

"""Learning to act: a learner in worlds side by side, evaluated apart from training, kept in a run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Learner, Student
from stalwart.core.device import pick
from stalwart.core.errors import CheckpointError, InputError
from stalwart.core.rng import seed_of
from stalwart.core.spelling import spell
from stalwart.mdp.evaluation import Episodes, evaluate
from stalwart.mdp.open import is_id, open_worlds
from stalwart.mdp.spaces import Spaces
from stalwart.store import checkpoint
from stalwart.store.folder import RunFolder

STATE = "state.safetensors"


@dataclass(frozen=True)
class Practice:
    """How a learner learns."""

    steps: int = 100_000
    """Steps over all worlds together."""
    worlds: int = 1
    """Worlds side by side."""
    chapters: int = 10
    """Parts of the training. Between two the worlds begin anew, the policy is evaluated, and all is saved."""
    episodes: int = 20
    """Episodes of each evaluation; 0: only at the end of the run."""
    seed: int = 0
    """Of everything random."""
    device: str = "cpu"
    """auto, cpu, cuda or cuda:1. Small networks are fastest on a CPU."""

    def check(self) -> None:
        """Raises InputError where a value is out of its range."""
        for name, least in (("steps", 1), ("worlds", 1), ("chapters", 1), ("episodes", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"Practice({name}=...) must be int, >= {least}. Got {value!r}.")


def learn(
    env: str,
    algo: str | Learner,
    *,
    settings: Practice | None = None,
    out: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Event]:
    """Train a policy, yielding events, and keep it as an ordinary checkpoint.

    On a CPU the same seed and number of threads give the same bits, also when the run was killed and resumed: it goes
    on from the last chapter's end, where everything random begins anew.

    Args:
        env: a Gymnasium id, or a world as the room `worlds` spells it.
        algo: a learner as the room `rl` spells it.
        out: the run folder; None keeps nothing.

    Yields:
        start, progress, epoch (one for each chapter), saved, result.

    Raises:
        InputError: a spelling, a setting, spaces that the learner cannot serve, a folder that cannot be used.
        KeyboardInterrupt: Ctrl-C; what was reached at the last chapter's end stands in the folder.
    """
    chosen = settings or Practice()
    chosen.check()
    learner: Learner = catalog.make(algo, "rl")
    if resume and out is None:
        raise InputError("resume needs the run's folder: give out=...")
    name = env.strip() if is_id(env) else spell(catalog.make(env, "worlds"))
    worlds = open_worlds(env, chosen.worlds)
    spaces = Spaces.of(worlds)
    student = learner.begin(spaces, chosen.worlds, chosen.seed, pick(chosen.device))
    config = {"kind": "rl", "spelling": {"env": name, "algo": spell(learner)}, "settings": asdict(chosen)}
    folder = RunFolder.begin(Path(out), config, resume) if out is not None else None
    try:
        for event in _course(name, worlds, student, spaces, chosen, config, folder, resume):
            if folder is not None:
                folder.append(event)
            yield event
    finally:
        worlds.close()
        if folder is not None:
            folder.close()


def _course(
    name: str,
    worlds: Any,
    student: Student,
    spaces: Spaces,
    how: Practice,
    config: dict[str, Any],
    folder: RunFolder | None,
    resume: bool,
) -> Iterator[Event]:
    first, best, seconds, taken = 0, -float("inf"), 0.0, 0
    figures: dict[str, Any] = {}
    if resume and folder is not None and (folder.path / "last" / STATE).exists():
        state = checkpoint.load_tensors(folder.path / "last" / STATE)
        try:
            first, best, seconds = int(state["chapter"]), float(state["best"]), float(state["seconds"])
            taken = int(state["taken"])
            student.restore(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{folder.path / 'last' / STATE} does not fit this run: {error}.") from None
        folder.forget(first)
        kept = [event for event in folder.events() if event["kind"] == "epoch"]
        figures = {key: value for key, value in kept[-1].items() if key not in ("kind", "time")} if kept else {}
    what = {"what": "learn", "env": name, "algo": config["spelling"]["algo"], "total": how.steps, "unit": "steps"}
    yield Event("start", what)
    per = how.steps / how.chapters
    for chapter in range(first, how.chapters):
        begun = time.perf_counter()
        done = 0
        running: dict[str, Any] = {}
        share = (chapter / how.chapters, (chapter + 1) / how.chapters)
        for event in student.chapter(worlds, round(per), seed_of(how.seed, "chapter", chapter), *share):
            passed = time.perf_counter() - begun
            done = int(event.values["done"])
            running = {key: value for key, value in event.values.items() if key != "done"}
            rate = done / max(passed, 1e-9)
            reached = round(chapter * per) + done
            at = {"done": reached, "total": how.steps, "unit": "steps", "rate": rate}
            yield Event("progress", {**at, "left_s": max(how.steps - reached, 0) / rate, **running})
        seconds += time.perf_counter() - begun
        taken += done
        figures = {"epoch": chapter + 1, "epochs": how.chapters, "steps": taken, **running}
        last = chapter + 1 == how.chapters
        if how.episodes or last:
            found = measure(student.policy, name, how.episodes or 20, how.seed)
            figures |= {key: found[key] for key in ("mean_return", "interval", "episodes")}
        figures["seconds"] = seconds
        yield Event("epoch", figures)
        if folder is not None:
            scores: dict[str, Any] = {
                key: figures[key] for key in ("mean_return", "interval", "episodes") if key in figures
            }
            card = _card(student, spaces, config, scores)
            if figures.get("mean_return", -float("inf")) > best:
                best = float(figures["mean_return"])
                checkpoint.save(folder.path / "best", student.policy, card)
            checkpoint.save(folder.path / "last", student.policy, card)
            marks = {"chapter": chapter + 1, "best": best, "seconds": seconds, "taken": taken}
            more = {key: torch.tensor(value, dtype=torch.float64) for key, value in marks.items()}
            checkpoint.save_tensors(folder.path / "last" / STATE, {**student.state(), **more})
            yield Event("saved", {"path": str(folder.path / "last")})
    final = {key: value for key, value in figures.items() if key not in ("epoch", "epochs")}
    final |= {"env": name, "algo": config["spelling"]["algo"], "seed": how.seed, "steps": taken}
    if seconds:
        final["steps_per_s"] = taken / seconds
    yield Event("result", {"kind": "learn", **final, **({"path": str(folder.path)} if folder else {})})


def measure(policy: nn.Module, env: str, episodes: int, seed: int) -> dict[str, Any]:
    """Figures of whole episodes in worlds of their own, whose seeds no chapter has."""
    worlds = open_worlds(env, _side_by_side(env, episodes))
    was = policy.training
    policy.eval()
    try:
        found = Episodes()
        for found in evaluate(policy, worlds, episodes, seed_of(seed, "evaluation") % 2**31):  # noqa: B007
            pass  # the last one counts
        return found.figures()
    finally:
        policy.train(was)
        worlds.close()


def _side_by_side(env: str, episodes: int) -> int:
    return min(episodes, 16 if is_id(env) else 64)


def _card(student: Student, spaces: Spaces, config: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    outputs = spaces.actions or spaces.dims
    return {
        "task": "control",
        "model": student.architecture,
        "data": config["spelling"]["env"],
        "classes": [f"action {n}" for n in range(outputs)],
        "signature": {"classes": outputs, "channels": 1, "size": [1, spaces.inputs]},
        "learner": config["spelling"]["algo"],
        "settings": config["settings"],
        "scores": scores,
        "seed": config["settings"]["seed"],
        "versions": {"torch": torch.__version__},
    }

"""How far a robust accuracy can be trusted: the engine checks itself, and attacks again where a check fires."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Attack, Event, Info, Rendered, Task, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.spelling import spell
from stalwart.core.statistics import wilson
from stalwart.pages.numbers import spoken
from stalwart.run._audit import reruns, structure
from stalwart.run._audit.case import Case, Check
from stalwart.run._audit.spoiled import Spoiled
from stalwart.run._judge import Ledger, eight_bit, judge_clean, search
from stalwart.run._subject import open_subject


@dataclass(frozen=True)
class Audit:
    """What an audit says of one figure."""

    verdict: Literal["trusted", "doubtful", "broken"]
    checks: tuple[Check, ...]
    """Everything that was looked at, in order."""
    robust_accuracy: float
    """By the audited attack, on the audit's images."""
    lowest: float
    """By that attack and all reruns within the same threat together."""
    clean_accuracy: float
    n: int
    attack: str
    threat: str
    seed: int
    forwards: int
    """Images passed forwards by all attacks together."""
    backwards: int
    seconds: float
    score: str = ""
    """The task's own figure, where images can be spoiled more or less: 'miou', 'ap50'. Then the accuracies above are
    shares of images within the task's bound. '' where there is none."""
    clean_score: float | None = None
    robust_score: float | None = None
    """That figure by the audited attack, each image at its worst."""
    lowest_score: float | None = None
    """By that attack and all reruns within the same threat together."""

    @property
    def says(self) -> str:
        """The verdict in words: 'trusted', 'doubtful because ...' or 'broken because ...'."""
        return f"{self.verdict} because {self.because}" if self.because else self.verdict

    @property
    def because(self) -> str:
        """The reasons of a verdict that is not 'trusted', one sentence; '' where it is."""
        if self.verdict == "trusted":
            return ""
        fired = [check for check in self.checks if check.outcome == self.verdict]
        tools = [check for check in fired if check.gained or check.lowered]
        reasons = [check.says.rstrip(".") for check in fired if check not in tools]
        if len(tools) == 1:
            reasons.append(tools[0].says.rstrip("."))
        elif tools:
            best, names = max(check.gained for check in tools), ", ".join(check.name for check in tools)
            done = [f"bring down up to {best} more of {self.n}"] if best else []
            done += [f"bring {spoken(self.score)} to {self.lowest_score:.1%}"] if self._lower else []
            reasons.append(f"other tools ({names}) {' and '.join(done)}")
        return "; ".join(reason[0].lower() + reason[1:] for reason in reasons) + "."

    @property
    def _lower(self) -> bool:
        return None not in (self.lowest_score, self.robust_score) and self.lowest_score != self.robust_score

    @property
    def faults(self) -> tuple[str, ...]:
        """The names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if check.outcome in ("doubtful", "broken"))


def audit(
    model: nn.Module,
    images: Tensor,
    labels: Any,
    attack: str | Attack = "pgd(steps=20)",
    threat: str | Threat | Rendered = "linf(8/255)",
    *,
    task: str | Task = "classification()",
    goal: str = "",
    seed: int = 0,
    classes: Sequence[str] = (),
) -> Audit:
    """Attack `model`, then say how far the robust accuracy that comes of it can be trusted.

    First the model itself is looked at (random, detached, quantised or saturated outputs, probabilities for logits,
    another range of pixels ...), then what still stands is attacked again with other tools: one step, another loss,
    another start, more steps, queries alone, unlimited changes. The list follows Carlini et al., "On evaluating
    adversarial robustness" (2019), and Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of
    security" (ICML 2018). `docs/evaluating-a-defence.md` explains each.

    Args:
        images: (B, C, H, W) float in [0, 1]; a hundred or two are enough, and the cost grows with them.
        labels: the task's targets; class indices (B,) for classification.
        classes: their names. Of a task whose images can be spoiled more or less (maps, boxes, masks) its own figure is
            then audited as well as the share of images within its bound.

    Returns:
        `verdict` 'broken' where a fault makes the figure say nothing of robustness, 'doubtful' where another tool did
        better, else 'trusted'.

    Raises:
        InputError: no images, an unknown spelling.
    """
    info = Info("", tuple(classes), "unknown", "") if classes else None
    steps = _steps(model, images, labels, attack, threat, task, goal, seed, info)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Audit = end.value
            return found


def _steps(
    model: nn.Module,
    images: Tensor,
    labels: Any,
    attack: str | Attack,
    threat: str | Threat | Rendered,
    task: str | Task,
    goal: str,
    seed: int,
    info: Info | None,
) -> Generator[Check, None, Audit]:
    """The audit, check by check."""
    solver: Attack = catalog.make(attack, "attacks")
    around: Threat | Rendered = catalog.make(threat, "threats")
    adapter: Task = catalog.make(task, "tasks")
    if not len(images):
        raise InputError("an audit needs at least one image. Got 0.")
    begun = time.perf_counter()
    pixels = images.detach().float() / 255 if images.dtype == torch.uint8 else images.detach().float()
    targets = adapter.collate(labels)
    targets = targets.to(pixels.device) if hasattr(targets, "to") else targets
    bits = 8 if eight_bit(pixels) else None
    checks: list[Check] = []
    with frozen(model):
        ledger = Ledger(pixels, adapter.goal(model, targets, goal), around, bits)
        wrong = judge_clean(ledger, None if info is None else solver)
        search(ledger, solver, seed)
        spoiled: Spoiled | None = None
        if info is not None and ledger.graded:
            spoiled = Spoiled(model, adapter, targets, pixels, info)
            spoiled.see(ledger, torch.arange(len(pixels), device=pixels.device))
            spoiled.audited = spoiled.lowest
        case = Case(
            model, pixels, targets, adapter, around, solver, goal, seed, bits, ledger.reached.clone(), spoiled,
            forwards=ledger.forwards, backwards=ledger.backwards,
        )  # fmt: skip
        for check in structure.look(case):
            checks.append(check)
            yield check
        if 1 - float(wrong.float().mean()) <= 1.5 * _chance(model, pixels):
            says = "The model is hardly better than guessing on clean images, so its robustness has little meaning."
            if spoiled is not None:
                says = "Not one image is within the task's bound untouched, so none can be brought beyond it."
            checks.append(Check("clean-accuracy", "doubtful", says))
        for check in reruns.again(case, {check.name for check in checks if check.outcome in ("doubtful", "broken")}):
            checks.append(check)
            yield check
    outcomes = {check.outcome for check in checks}
    return Audit(
        verdict="broken" if "broken" in outcomes else "doubtful" if "doubtful" in outcomes else "trusted",
        checks=tuple(checks),
        robust_accuracy=1 - float(case.reached.float().mean()),
        lowest=1 - float(case.fallen.float().mean()),
        clean_accuracy=1 - float(wrong.float().mean()),
        n=case.n,
        attack=spell(solver),
        threat=spell(around),
        seed=seed,
        forwards=case.forwards,
        backwards=case.backwards,
        seconds=time.perf_counter() - begun,
        score="" if spoiled is None else adapter.score,
        clean_score=None if spoiled is None else spoiled.clean,
        robust_score=None if spoiled is None else spoiled.audited,
        lowest_score=None if spoiled is None else spoiled.lowest,
    )


@torch.no_grad()
def _chance(model: nn.Module, images: Tensor) -> float:
    out = model(images[:1])
    return 1 / out.shape[1] if isinstance(out, Tensor) and out.ndim == 2 else 0.0


def audit_run(
    path: str | Path,
    attack: str | Attack = "pgd(steps=20)",
    threat: str | Threat | Rendered = "linf(8/255)",
    *,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    goal: str = "",
    limit: int = 100,
    seed: int = 0,
    device: str = "auto",
    skip_bad: bool = False,
) -> Iterator[Event]:
    """Audit an attack on a run's checkpoint with `limit` images, and keep what comes in its `results/`.

    Yields:
        start, progress after each check, a warning where the figure is not trusted, saved, result.

    Raises:
        InputError: no such run, split or spelling.
    """
    subject = open_subject(path, data=data, split=split, checkpoint=checkpoint, limit=limit, device=device)
    batches = subject.batches(limit, skip_bad=skip_bad)
    yield Event("start", {"what": "audit", "unit": "checks", "data": subject.data, "split": split})
    batch = next(iter(batches.epoch(0)))
    info = subject.examples.info
    steps = _steps(subject.model, batch.images, batch.targets, attack, threat, subject.task, goal, seed, info)
    done, begun = 0, time.perf_counter()
    while True:
        try:
            check = next(steps)
        except StopIteration as end:
            found: Audit = end.value
            break
        done += 1
        rate = done / (time.perf_counter() - begun)
        yield Event("progress", {"done": done, "unit": "checks", "rate": rate, check.name: check.outcome})
    if found.verdict != "trusted":
        what = spoken(found.score) if found.score else "robust accuracy"
        yield Event("warning", {"message": f"{what} by {found.attack} under {found.threat} is {found.says}"})
    result = summary(found) | {"split": split, "checkpoint": checkpoint, "data": subject.data, "goal": goal}
    name = f"audit {found.attack} {found.threat} {goal}"
    yield Event("saved", {"path": str(subject.folder.write_result(name, result))})
    yield Event("result", result)


SCORES = ("score", "clean_score", "robust_score", "lowest_score")


def summary(found: Audit) -> dict[str, Any]:
    """An audit as JSON holds it."""
    standing = round(found.lowest * found.n)
    return {
        "kind": "audit",
        "verdict": found.verdict,
        "says": found.says,
        "because": found.because,
        "attack": found.attack,
        "threat": found.threat,
        "n": found.n,
        "seed": found.seed,
        "clean_accuracy": found.clean_accuracy,
        "robust_accuracy": found.robust_accuracy,
        "lowest": found.lowest,
        "interval": wilson(standing, found.n),
        "forwards": found.forwards,
        "backwards": found.backwards,
        "seconds": found.seconds,
        "checks": [asdict(check) for check in found.checks],
        **({key: getattr(found, key) for key in SCORES} if found.score else {}),
    }

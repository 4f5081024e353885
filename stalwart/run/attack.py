"""Attacking a model: any module with images in memory, or a run folder with its test split."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Attack, AttackResult, Event, Rendered, Shield, Task, Threat
from stalwart.core.device import pick
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.spelling import spell
from stalwart.core.stages import together
from stalwart.feed.batches import Batches
from stalwart.run._judge import Ledger, doubts, eight_bit, judge_clean, search, works_together
from stalwart.run._parallel import World, joined
from stalwart.run._parts import Shelf, forget
from stalwart.run._quick import measured, quicken
from stalwart.run._subject import Subject, open_subject
from stalwart.run._sweep import Sweep, swept
from stalwart.run._three import three
from stalwart.run._toward import index_of, narrowed
from stalwart.run.audit import audit_run


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Any,
    attack: str | Attack = "pgd(steps=20)",
    threat: str | Threat | Rendered = "linf(8/255)",
    *,
    task: str | Task = "classification()",
    goal: str = "",
    wanted: Any = None,
    seed: int = 0,
    batch: int = 256,
    bits: int | None = 8,
    precision: str = "fp32",
    compile: bool = False,
) -> AttackResult:
    """Attack `model` at `images` and judge what came of it.

    The model is used in evaluation mode and left as it was: the mode of each module, each `requires_grad`.
    Samples that are wrong from the start are counted as reached and not attacked, and one that falls takes no more
    steps; but where an image can be spoiled more or less, as in dense tasks, each takes all steps and its worst image
    is kept. The verdict is taken in float32
    at the image as it would be saved: inside the threat and [0, 1], rounded to `bits`. Results do not depend on the
    batch size or the order of the images, up to float32's rounding in the model itself.

    Args:
        model: any module that takes (B, C, H, W) in [0, 1]; for classification it gives logits (B, K).
        images: (B, C, H, W) float in [0, 1], or uint8.
        labels: the task's targets; class indices (B,) for classification.
        goal: the loss to raise, by the task's name for it ('cross_entropy', 'margin', 'dlr'); '' for the usual one.
        wanted: targets that the attacker wants, (B,) for classification; None for an untargeted attack.
        batch: images at a time.
        bits: round to so many bits before judging. Images that are not multiples of 1/255 are judged unrounded.
        precision: 'fp32' or 'bf16', of the passes that the attack climbs by. What counts is judged in float32 whatever
            it is: another point may be found, and a success stays one.
        compile: climb a compiled form of the model; the model itself judges.

    Raises:
        InputError: images or labels out of their range, an unknown spelling.
    """
    solver: Attack = catalog.make(attack, "attacks")
    around: Threat | Rendered = catalog.make(threat, "threats")
    adapter: Task = catalog.make(task, "tasks")
    device = _device_of(model)
    pixels = _lay(_check_images(images).to(device), model)
    targets = _to(adapter.collate(labels), device)
    aims = None if wanted is None else _to(adapter.collate(wanted), device)
    if len(targets) != len(pixels):
        raise InputError(f"labels must be as many as the images, {len(pixels)}. Got {len(targets)}.")
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    if bits is not None and (not 1 <= bits <= 16 or not eight_bit(pixels)):
        if not 1 <= bits <= 16:
            raise InputError(f"bits must lie in 1..16 or be None. Got {bits}.")
        bits = None
    begun = time.perf_counter()
    with frozen(model):
        whole = adapter.goal(model, targets, goal, aims)
        fast = quicken(model, precision, compile)
        climbed = None if fast is None else whole.on(fast)
        ledgers, wrong = [], []
        share = max(len(pixels), 1) if works_together(solver) else batch
        for first in range(0, len(pixels), share):
            index = torch.arange(first, min(first + share, len(pixels)), device=device)
            ledger = Ledger(pixels[index], whole.select(index), around, bits, most=batch)
            wrong.append(judge_clean(ledger, solver))
            search(ledger, solver, seed, None if climbed is None else climbed.select(index))
            ledgers.append(ledger)
    seconds = time.perf_counter() - begun
    adversarial = _join([ledger.pictures() for ledger in ledgers], pixels).contiguous()
    return AttackResult(
        adversarial=adversarial,
        reached=_join([ledger.reached for ledger in ledgers], torch.zeros(0, dtype=torch.bool)),
        clean_reached=_join(wrong, torch.zeros(0, dtype=torch.bool)),
        size=_join([ledger.sizes() for ledger in ledgers], torch.zeros(0)),
        loss=_join([ledger.loss for ledger in ledgers], torch.zeros(0)),
        forwards=sum(ledger.forwards for ledger in ledgers),
        backwards=sum(ledger.backwards for ledger in ledgers),
        seconds=seconds,
        seed=seed,
        attack=spell(solver),
        threat=spell(around),
        bits=bits,
        warnings=doubts(ledgers),
        stages=together(stage for ledger in ledgers for stage in ledger.stages()),
    )


def _check_images(images: Any) -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != 4:
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images must be a tensor (B, C, H, W). Got {came}.")
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise InputError(f"images must be float in [0, 1] or uint8. Got {images.dtype}.")
    pixels = images.detach().float()
    if pixels.numel():
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -SLOP and high <= 1 + SLOP):  # also false for NaN
            raise InputError(
                f"images must lie in [0, 1]; normalisation belongs into the model. Got values in {low:.4g}..{high:.4g}."
            )
    return pixels.clamp(0, 1)


PASSES = 100
"""Forward and backward passes that an attack is taken to make of a batch, when it is decided whether to measure."""
SLOP = 1e-5
"""Values so little outside [0, 1] come from float arithmetic and are cut."""


def _lay(pixels: Tensor, model: nn.Module) -> Tensor:
    """The memory layout that convolutions are fastest in: channels last on a CPU, where several networks ran 1.1 to 1.6
    times as fast with AVX2. The numbers are the same up to float32's rounding."""
    convolutions = any(isinstance(module, nn.Conv2d) for module in model.modules())
    if pixels.device.type != "cpu" or not convolutions:
        return pixels
    return pixels.contiguous(memory_format=torch.channels_last)


def _device_of(model: nn.Module) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value


def _join(parts: Sequence[Tensor], empty: Tensor) -> Tensor:
    return torch.cat(list(parts)) if parts else empty


def attack_run(
    path: str | Path,
    attacks: Sequence[str | Attack] = ("pgd(steps=20)",),
    threats: Sequence[str | Threat | Rendered] = ("linf(8/255)",),
    *,
    shield: str | Shield | None = None,
    data: Any = None,
    split: str = "test",
    checkpoint: str = "best",
    goal: str = "",
    toward: str | int | None = None,
    limit: int | None = 1000,
    audit: int = 0,
    radii: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
    fresh: bool = False,
    precision: str = "fp32",
    compile: bool = False,
) -> Iterator[Event]:
    """Attack a run's checkpoint with each attack under each threat, and keep what comes in its `results/`.

    Each finished batch is kept until all is done: the same call, after a kill, goes on with what is left. Under
    `torchrun` the processes share the batches and come to the figures of one, to the last bit on one kind of machine.

    Each threat is tried at several radii, smallest first; a sample that falls at one counts as fallen at the larger
    ones and is not attacked again, so the curve falls by construction and costs little more than its last point.

    Args:
        path: the run folder.
        shield: put this shield around the model, and say of each pair how much stands without it, under the attack as
            it is, and under one that knows the shield (`run/_three.py`). Shielded models are not audited.
        toward: a class by name or number: the attacker wants everything to be taken for it (`Directed.toward`). The
            share of images in which that is reached is the result's `reached`; images that hold nothing else are left
            out. Such figures are not audited, and shielded models not attacked so.
        limit: at most so many images, drawn by a fixed seed; None for the whole split.
        audit: audit the lowest figure of each threat on so many images (`run/audit.py`); 0: do not.
        radii: the radii as shares of each threat's ε, in (0, 1]; 1 is always among them.
        precision: 'fp32', 'bf16' or 'auto' (measured here), of the passes that attacks climb by; float32 judges.
        compile: climb a compiled form of the model; the model itself judges. Neither is for shielded models.
        fresh: begin anew where an earlier call was killed, and forget what it had kept.

    Yields:
        start, progress, note, warning, saved, and a result for each pair and each audit; the first process alone.

    Raises:
        InputError: no such run, split or spelling; damaged files; radii out of their range; no such class, no image to
            be turned towards it, or a task that has no such goal.
    """
    solvers = [catalog.make(spelled, "attacks") for spelled in attacks]
    sets = [catalog.make(spelled, "threats") for spelled in threats]
    shares = sorted({*radii, 1.0})
    if not solvers or not sets:
        raise InputError("an attack needs at least one attack and one threat. Got none.")
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    if not all(0 < share <= 1 for share in shares):
        raise InputError(f"radii must be shares of ε in (0, 1]. Got {tuple(radii)}.")
    if any(threat.epsilon <= 0 for threat in sets):
        raise InputError("a threat to attack under needs ε > 0; accuracy at ε = 0 is what 'evaluate' reports.")
    guard: Shield | None = None if shield is None else catalog.make(shield, "shields")
    if precision not in ("fp32", "bf16", "auto"):
        raise InputError(f"precision must be 'fp32', 'bf16' or 'auto'. Got {precision!r}.")
    if guard is not None and (precision != "fp32" or compile):
        raise InputError("precision and compile are for models without a shield: attacks go around shields in fp32.")
    if guard is not None and toward is not None:
        raise InputError("toward is for models without a shield.")
    pairs = [(solver, threat) for threat in sets for solver in solvers]
    with joined() as world:
        if world.size > 1 and pick(device).type == "cuda":
            device = f"cuda:{world.local}"
        subject = open_subject(path, data=data, split=split, checkpoint=checkpoint, limit=limit, device=device)
        batches = subject.batches(batch, workers=workers, skip_bad=skip_bad)
        label: int | None = None
        if toward is not None:
            label, unread = index_of(toward, subject), batches.skipped
            subject = narrowed(subject, batches, label, split)
            batches = subject.batches(batch, workers=workers, skip_bad=skip_bad)
            batches.skipped = unread
        if fresh and world.first:
            forget(subject.folder.path)
        whole = batches
        if any(map(works_together, solvers)):
            whole = subject.batches(max(batches.count, 1), workers=workers, skip_bad=skip_bad)
        job = _Job(
            subject, batches, whole, shares, world, split, checkpoint, goal, label, seed, fresh, precision, compile
        )
        for event in job.shielded(pairs, guard) if guard is not None else job.plain(pairs):
            if world.first:
                yield event
        for solver, threat in job.strongest() if audit and label is None and world.first else ():
            yield from audit_run(
                path, solver, threat, data=data, split=split, checkpoint=checkpoint, goal=goal, limit=audit, seed=seed,
                device=device, skip_bad=skip_bad,
            )  # fmt: skip
        if world.first:
            job.clear()


Pair = tuple[Attack, Threat | Rendered]


@dataclass
class _Job:
    """One evaluation: what it works on, and what every attack of it shares."""

    subject: Subject
    batches: Batches
    whole: Batches
    """All images in one batch, for an attack that works on all of them together."""
    shares: Sequence[float]
    world: World
    split: str
    checkpoint: str
    goal: str
    toward: int | None
    """The class that the attacker wants everything to be taken for."""
    seed: int
    fresh: bool
    precision: str
    compile: bool
    shelves: list[Shelf] = field(default_factory=list)
    lowest: dict[str, tuple[tuple[bool, float], Attack, Threat | Rendered]] = field(default_factory=dict)
    """For each threat the lowest figure, one of the task's own metric before any other, and the pair it came from."""

    def plain(self, pairs: Sequence[Pair]) -> Iterator[Event]:
        yield from self._start(self.batches.count * len(pairs))
        if self.precision == "auto":
            yield from self._measure(len(pairs))
        fast = quicken(self.subject.model, self.precision, self.compile)
        for number, (solver, threat) in enumerate(pairs):
            sweep = Sweep(
                self.subject, solver, threat, self._radii(solver, threat), goal=self.goal, seed=self.seed,
                most=self.batches.batch, fast=fast, toward=self.toward,
            )  # fmt: skip
            before, total = number * self.batches.count, self.batches.count * len(pairs)
            shelf = self.shelf(solver, threat)
            yield from swept(sweep, self._feed(solver), before, total, shelf=shelf, world=self.world)
            if not self.world.first:
                continue
            result = sweep.result()
            for warning in result["warnings"]:
                yield Event("warning", {"message": f"{result['attack']} under {result['threat']}: {warning}"})
            if result["stages"]:
                told = ", ".join(f"{stage['name']} {stage['fell']:,}" for stage in result["stages"])
                yield Event("note", {"message": f"{result['attack']} under {result['threat']} brought down: {told}."})
            name = f"attack {result['attack']} {result['threat']} {self.goal}"
            name += f" toward {result['toward']}" if "toward" in result else ""
            yield from self._keep(name, result, {**sweep.pictures(), **sweep.outcomes()})
            left = ("robust_score" not in result, result.get("robust_score", result["robust_accuracy"]))
            if result["threat"] not in self.lowest or left < self.lowest[result["threat"]][0]:
                self.lowest[result["threat"]] = (left, solver, threat)

    def shielded(self, pairs: Sequence[Pair], guard: Shield) -> Iterator[Event]:
        total = 3 * self.batches.count * len(pairs)
        yield from self._start(total, shield=spell(guard))
        for number, (solver, threat) in enumerate(pairs):
            for event in three(
                self.subject, guard, solver, threat, self._radii(solver, threat), self._feed(solver), goal=self.goal,
                seed=self.seed, before=3 * number * self.batches.count, total=total, shelf=self.shelf, world=self.world,
            ):  # fmt: skip
                if event.kind != "result":
                    yield event
                elif self.world.first:
                    found = event.values
                    name = f"shield {found['shield']} {found['attack']} {found['threat']} {self.goal}"
                    yield Event("note", {"message": found["says"]})
                    yield from self._keep(name, found, None)

    def strongest(self) -> list[Pair]:
        """For each threat the attack that left least."""
        return [(solver, threat) for _, solver, threat in self.lowest.values()]

    def shelf(self, solver: Attack, threat: Threat | Rendered, **more: Any) -> Shelf:
        """Where the finished batches of one sweep are kept."""
        key = {
            "weights": self.subject.card.get("sha256"),
            "attack": spell(solver),
            "threat": spell(threat),
            "task": spell(self.subject.task),
            "data": self.subject.data,
            "split": self.split,
            "images": [len(self.subject.examples), int(self.batches.positions.sum())],
            "goal": self.goal,
            "toward": self.toward,
            "seed": self.seed,
            "radii": self._radii(solver, threat),
            "device": self.subject.device.type,
            "precision": self.precision,
            "compile": self.compile,
            **more,
        }
        self.shelves.append(Shelf(self.subject.folder.path, key, fresh=self.fresh))
        return self.shelves[-1]

    def clear(self) -> None:
        """All is done: nothing is to be gone on with."""
        for shelf in self.shelves:
            shelf.clear()

    def _feed(self, solver: Attack) -> Batches:
        return self.whole if works_together(solver) else self.batches

    def _radii(self, solver: Attack, threat: Threat | Rendered) -> list[float]:
        """One change for all images is sought at one radius alone: what falls at a smaller one falls to another."""
        shares = (1.0,) if works_together(solver) else self.shares
        return [share * threat.epsilon for share in shares]

    def _start(self, total: int, **more: Any) -> Iterator[Event]:
        about = {"what": "attack", "total": total, "unit": "images", "data": self.subject.data, "split": self.split}
        yield Event("start", {**about, **more})
        for line in self.batches.skipped:
            yield Event("warning", {"message": f"left out {line}"})
        if self.world.size > len(self.batches):
            message = f"{len(self.batches)} batches keep {len(self.batches)} of {self.world.size} processes busy: "
            yield Event("note", {"message": message + "smaller ones (--batch) would give all of them work."})

    def _measure(self, pairs: int) -> Iterator[Event]:
        """Settle 'auto', for all processes alike."""
        batch = next(iter(self.batches.of([torch.arange(min(self.batches.batch, self.batches.count))])))
        passes = PASSES * pairs * len(self.batches)
        own = measured(self.subject.model, self.subject.task, batch.images, batch.targets, self.goal, passes)
        self.precision = self.world.gather(own)[0]
        yield Event("note", {"message": f"attacks climb in {self.precision}, float32 judges."})

    def _keep(self, name: str, found: Mapping[str, Any], tensors: Mapping[str, Tensor] | None) -> Iterator[Event]:
        climbed = self.precision + (" compiled" if self.compile else "")
        result = {
            **found,
            "precision": climbed,
            "split": self.split,
            "checkpoint": self.checkpoint,
            "data": self.subject.data,
        }
        yield Event("saved", {"path": str(self.subject.folder.write_result(name, result, tensors))})
        yield Event("result", result)

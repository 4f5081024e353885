"""Training: our own loop, since an adversarial step needs control of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import (
    Architecture,
    Batch,
    Event,
    Examples,
    Objective,
    Signature,
    Source,
    Task,
)
from stalwart.core.device import pick
from stalwart.core.errors import InputError, TrainingError
from stalwart.core.rng import generator
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.mixed import Mixed
from stalwart.feed.split import Splits, Subset, counts, open_splits
from stalwart.run._interrupt import Interrupt
from stalwart.run._keep import Keeper
from stalwart.run._parallel import World, joined
from stalwart.run._radius import at_radius
from stalwart.run._settings import Training as Training
from stalwart.run._setup import build, make_batches, make_mixed
from stalwart.run._state import Progress
from stalwart.run._step import Stepper
from stalwart.run._validate import PATIENT, ROBUST_IMAGES, Watch, hasty, robust, validate, watched
from stalwart.run._watch import remark
from stalwart.run.probe import Choice, choose
from stalwart.store import checkpoint


def train(
    data: str | Source,
    model: str | Architecture | nn.Module,
    *,
    task: str | Task = "classification()",
    objective: str | Objective = "clean()",
    settings: Training | None = None,
    out: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Event]:
    """Train a model, yielding events, and keep it in a run folder.

    On a CPU the same seed gives the same bits, whether or not the run was killed and resumed in between; `config.json`
    keeps which layout and precision were measured to be fastest, as they move last bits: `precision='fp32'` measures
    nothing, so that two long runs agree to the last bit too. Under `torchrun` the processes share each batch, on one
    machine or many; to resume, all must see the run folder.

    Args:
        data: the source, spelled or as an object.
        model: the architecture, spelled or as an object; or a module of your own, trained in place, which only you can
            build again.
        out: the run folder; None keeps nothing.
        resume: go on with the run that stands in `out`.

    Yields:
        start, note, warning, progress, epoch, saved, result.

    Raises:
        InputError: bad data, spelling or settings; a run folder that cannot be used.
        TrainingError: the loss is not finite. The last good state is kept.
        KeyboardInterrupt: Ctrl-C; what was reached is saved first.
    """
    chosen = settings or Training()
    chosen.check()
    if resume and out is None:
        raise InputError("resume needs the run's folder: give out=...")
    run = _Run(
        catalog.make(data, "data"),
        model if isinstance(model, nn.Module) else catalog.make(model, "models"),
        catalog.make(task, "tasks"),
        catalog.make(objective, "objectives"),
        chosen,
        Path(out) if out is not None else None,
    )
    with joined() as world:
        yield from run.events(world, resume)


class _Run:
    """One training run from its first event to its last."""

    def __init__(
        self,
        source: Source,
        architecture: Architecture | nn.Module,
        task: Task,
        objective: Objective,
        settings: Training,
        out: Path | None,
    ) -> None:
        self.source, self.architecture, self.task, self.objective = source, architecture, task, objective
        self.settings, self.out = settings, out
        self.progress = Progress()
        self.pending: list[Tensor] = []
        """Losses of the last steps, left on the device until somebody looks."""
        self.clock = self.saved_at = time.perf_counter()
        self.watch: Watch | None = None

    # ------------------------------------------------------------ the course of a run

    def events(self, world: World, resume: bool) -> Iterator[Event]:
        self.world, settings = world, self.settings
        self.device = pick(settings.device)
        if world.size > 1 and self.device.type == "cuda":
            self.device = torch.device("cuda", world.local)
        splits = open_splits(self.source, val=settings.val, seed=settings.seed)
        spelled = ("optimizer", "schedule", "augments", "radius", "extra")
        plain = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in spelled}
        self.keeper = Keeper(self.out, self._spelling(), plain, world.first)
        self.keeper.open(resume, self.device, world.size)
        try:
            with Interrupt() as interrupt:
                for event in self._course(splits, resume, interrupt):
                    if world.first:
                        self.keeper.append(event)
                        yield event
        finally:
            self.keeper.close()

    def _course(self, splits: Splits, resume: bool, interrupt: Interrupt) -> Iterator[Event]:
        settings, progress = self.settings, self.progress
        batches = make_mixed(splits.train, self.task, settings, self.device, self.world)
        self.info = splits.train.info
        if not len(batches):
            raise InputError(f"{spell(self.source)}: the train split has no images for a batch of {batches.batch}.")
        assert batches.size is not None
        name = type(self.task).__name__
        self.signature = Signature(len(self.info.classes), batches.channels, batches.size, name)
        self.replays: int = getattr(self.objective, "replays", 1)
        per_epoch = -(-len(batches) // settings.accumulate) * self.replays
        at_radius(self.objective, settings.radius(0.0))  # refuses now what cannot be done
        built = self._build(splits.train)
        begun = self._begin(built) if settings.start is not None and not resume else ()
        model = self.world.same_start(built)
        choice = self._choose(model, batches, per_epoch * settings.epochs)
        self.stepper = Stepper(
            model,
            self.task,
            self.objective,
            settings.optimizer,
            settings.schedule,
            settings.radius,
            parts=settings.accumulate,
            total=per_epoch * settings.epochs,
            clip=settings.clip,
            ema=settings.ema,
            seed=settings.seed,
            world=self.world,
            device=self.device,
            choice=choice,
        )
        if resume:
            self.progress = progress = self.keeper.load(self.stepper)
        yield self._start(splits, batches)
        for note in (*splits.notes, *begun):
            yield Event("note", {"message": note})
        for line in batches.skipped:
            yield Event("warning", {"message": f"left out {line}"})
        yield Event("note", {"message": f"computing in {choice.precision} ({choice.reason})."})
        for note in choice.notes:
            yield Event("note", {"message": note})
        validation, watching = self._validation(splits.val)
        yield from self._set_watch(watching)
        interrupt.patient = True
        while progress.epoch < settings.epochs:
            yield from self._epoch(batches, interrupt)
            yield from self._between(validation, watching)
            waited = progress.epoch - progress.best_epoch
            if settings.patience and validation is not None and waited >= settings.patience:
                what = "score" if watching is None else "robust score"
                yield Event("note", {"message": f"stopped early: no better {what} for {waited} epochs."})
                break
            if self._enough():
                break
        progress.finished = True
        self._save_last()
        final = {"epochs": progress.epoch, "steps": progress.step, "seconds": progress.seconds}
        final |= {"best_epoch": progress.best_epoch, **progress.best_scores}
        yield Event("result", {"kind": "train", **final, **({"path": str(self.out)} if self.out else {})})

    def _epoch(self, batches: Batches | Mixed, interrupt: Interrupt) -> Iterator[Event]:
        progress = self.progress
        if progress.position == 0 and progress.replay == 0:
            progress.loss, progress.count = 0.0, 0
        self.clock = time.perf_counter()
        yield from self._steps(batches, interrupt)
        self._count_seconds()

    def _steps(self, batches: Batches | Mixed, interrupt: Interrupt) -> Iterator[Event]:
        settings, progress, last = self.settings, self.progress, len(batches)
        begun = looked = self.clock
        first_step = progress.step
        group: list[Batch] = []
        for number, batch in enumerate(batches.epoch(progress.epoch, progress.position), progress.position):
            group.append(batch)
            if len(group) < settings.accumulate and number + 1 < last:
                continue
            images = _images_in(batches, number, len(group))
            for replay in range(progress.replay + 1, self.replays + 1):
                self.pending.append(self.stepper.step(group, images, progress.step))
                if self.device.type == "cpu":  # nothing to wait for; and the weights are still those from before
                    self._look(keep=True)
                progress.step += 1
                progress.count += images
                progress.replay = replay % self.replays
                if not progress.replay:
                    progress.position = number + 1
                now = time.perf_counter()
                stop = self._asked(interrupt)
                save = settings.save_every_s > 0 and now - self.saved_at > settings.save_every_s
                due = now - looked > 0.2 or progress.position == last or self._enough()
                if due or stop or save:
                    self._look()
                if stop:
                    self._save_last()
                    raise KeyboardInterrupt
                if due:
                    looked = now
                    rate = (progress.step - first_step) / (now - begun)
                    try:
                        yield Event("progress", self._running(rate))
                    except (GeneratorExit, KeyboardInterrupt):
                        self._save_last()
                        raise
                if save:
                    self._save_last()
                if self._enough():
                    return
            group = []

    def _between(self, validation: Batches | None, watching: Batches | None) -> Iterator[Event]:
        """The end of an epoch: validate, keep the best, save."""
        progress, stepper, name = self.progress, self.stepper, self.task.score
        figures: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "epochs": self.settings.epochs,
            "train_loss": progress.loss / max(progress.count, 1),
            "lr": stepper.optimizer.param_groups[0]["lr"],
            "seconds": progress.seconds,
        }
        score: float | None = None
        warning = ""
        self.world.same(stepper.model.buffers())
        with stepper.averaged():
            model = stepper.model
            if validation is not None:
                figures |= validate(model, self.task, validation, self.info, self.world, stepper.autocast)
                score = figures[f"val_{name}"]
            if watching is not None and self.watch is not None:
                score = robust(model, self.task, watching, self.info, *self.watch, self.settings.seed, self.world)
                figures[f"robust_{name}"] = score
                progress.course.append(self._seen(figures, watching.count))
                warning = remark(progress.course, progress.epoch + 1 == self.settings.epochs)
            progress.epoch += 1
            progress.position = progress.replay = 0
            progress.scores = {k: v for k, v in figures.items() if k.startswith(("val_", "robust_"))}
            if self._better(score, figures):
                progress.best, progress.best_epoch, progress.best_scores = score, progress.epoch, progress.scores
                if stepper.sound():
                    self.keeper.save("best", progress, stepper, self.info, self.signature)
        try:
            yield Event("epoch", figures)
            if warning:
                yield Event("warning", {"message": warning})
        finally:  # also where nobody listens any more
            self._save_last()

    def _better(self, score: float | None, figures: dict[str, Any]) -> bool:
        """Whether this epoch is the best yet; where scores tie, a validation loss lower by a thousandth says."""
        progress = self.progress
        if score is None or progress.best is None or score > progress.best:
            return True
        loss, before = figures.get("val_loss"), progress.best_scores.get("val_loss")
        return score == progress.best and loss is not None and before is not None and loss < 0.999 * before

    def _seen(self, figures: dict[str, Any], images: int) -> dict[str, float]:
        """What `_watch` wants to know of the epoch that ends."""
        progress, name = self.progress, self.task.score
        return {
            "epoch": progress.epoch + 1,
            "first": progress.course[-1]["last"] + 1 if progress.course else 1,
            "last": progress.step,
            "radius": self.settings.radius((progress.step - 1) / self.stepper.total),
            "robust": figures[f"robust_{name}"],
            "clean": figures[f"val_{name}"],
            "loss": figures["train_loss"],
            "images": images,
        }

    # ------------------------------------------------------------ its parts

    def _look(self, keep: bool = False) -> None:
        """Wait for the losses of the last steps, add them up, and stop where one is not finite.

        Args:
            keep: the weights are still those from before the last step, so they are worth saving.
        """
        if not self.pending:
            return
        progress = self.progress
        values = [float(loss) for loss in self.pending] if keep else torch.stack(self.pending).tolist()
        first = progress.step + 1 if keep else progress.step + 1 - len(values)
        self.pending = []
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                if keep and progress.step:
                    self._save_last()
                raise TrainingError(
                    f"the loss is {value} at step {step}, epoch {progress.epoch + 1}.{self.keeper.kept()} Try a lower "
                    "learning rate, clip=1.0, or precision='fp32'; and look for damaged images."
                )
            progress.loss += value

    def _enough(self) -> bool:
        return self.settings.max_steps is not None and self.progress.step >= self.settings.max_steps

    def _asked(self, interrupt: Interrupt) -> bool:
        """Whether Ctrl-C was pressed. Several processes ask each other now and then, as asking makes them wait."""
        if self.world.size == 1:
            return interrupt.asked
        return self.progress.step % 16 == 0 and self.world.any(interrupt.asked, self.device)

    def _batches(self, examples: Examples) -> Batches:
        return make_batches(examples, self.task, self.settings, self.device, self.world, train=False)

    def _validation(self, val: Examples) -> tuple[Batches | None, Batches | None]:
        """Batches to validate on; and some drawn of them, to watch robustness on, where the objective wants that."""
        if not len(val):
            return None, None
        if watched(self.objective) is None:
            return self._batches(val), None
        drawn = torch.randperm(len(val), generator=generator(self.settings.seed, "watched"))[:ROBUST_IMAGES]
        return self._batches(val), self._batches(Subset(val, drawn.sort().values.tolist()))

    def _set_watch(self, watching: Batches | None) -> Iterator[Event]:
        """What robustness is watched with: training's own attack, or one of more steps where that has few."""
        self.watch = watched(self.objective)
        if watching is None or self.watch is None:
            return
        (attack, threat), model = self.watch, self.stepper.model
        mine = hasty(model, self.task, watching, self.watch, self.settings.seed)
        if self.world.any(mine, self.device):
            self.watch = catalog.make(PATIENT, "attacks"), threat
            message = f"robustness is watched by {PATIENT}, as {spell(attack)} takes too few steps to judge by."
            yield Event("note", {"message": message})

    def _build(self, examples: Examples) -> nn.Module:
        if isinstance(self.architecture, nn.Module):
            model = self.architecture.to(self.device)
            # Parts that their owner put into evaluation, such as frozen BatchNorm, stay there.
            return model if model.training else model.train()
        return build(self.architecture, self.signature, examples, self.task, self.settings).to(self.device)

    def _begin(self, model: nn.Module) -> tuple[str]:
        start = self.settings.start
        assert start is not None
        anew = checkpoint.begin_with(model, start)
        left = f"anew: {', '.join(anew[:4])}{' ...' if len(anew) > 4 else ''}" if anew else "all of them"
        note = f"began with the weights of {start}, {left}."
        were, are = checkpoint.read_card(checkpoint.locate(Path(start)))["classes"], list(self.info.classes)
        if len(were) == len(are) and were != are:  # so that all of it fitted
            was, now = next(pair for pair in zip(were, are, strict=True) if pair[0] != pair[1])
            note += f" Its classes were others, such as {was!r} in place of {now!r}: so is its last layer."
        return (note,)

    def _choose(self, model: nn.Module, batches: Batches | Mixed, steps: int) -> Choice:
        """Layout, precision and compilation: as the run was started, or by measuring. The first process decides."""
        choice, asked = self.keeper.chosen(), self.settings.precision
        if choice is None and asked != "auto":
            choice = Choice(precision=asked, reason="as asked for")
        if choice is None and self.world.first:
            batch = next(batches.epoch(0))

            def loss(candidate: nn.Module, images: Tensor, targets: Any) -> Tensor:
                some = torch.arange(len(images), device=images.device)
                part = Batch(images, targets, batch.index[some], batch.noise.select(some))
                return self.objective(candidate, self.task, part).mean()

            rounds = steps * self.settings.accumulate
            choice = choose(model, loss, batch.images, batch.targets, self.device, steps=rounds)
        shared = self.world.gather(choice)[0]
        assert shared is not None
        self.keeper.keep_choice(shared)
        return shared

    # ------------------------------------------------------------ what it says and keeps

    def _start(self, splits: Splits, batches: Batches | Mixed) -> Event:
        parts = {"train": splits.train, "val": splits.val, "test": splits.test}
        names = self.info.classes
        values: dict[str, Any] = {
            "what": "train",
            "total": self._total(),
            "unit": "steps",
            "done": self.progress.step,
            "epochs": self.settings.epochs,
            "device": str(self.device),
            "processes": self.world.size,
            "parameters": sum(parameter.numel() for parameter in self.stepper.model.parameters()),
            "train_images": batches.count,  # those of an epoch, extra ones counted in
            "val_images": len(splits.val),
            "test_images": len(splits.test),
            "class_counts": dict(zip(names, counts(splits.train), strict=True)),
            "split_counts": {part: dict(zip(names, counts(of), strict=True)) for part, of in parts.items()},
        }
        return Event("start", {**values, **self._spelling()})

    def _total(self) -> int:
        """Steps that this run will make at most."""
        return min(self.stepper.total, self.settings.max_steps or self.stepper.total)

    def _running(self, rate: float) -> dict[str, Any]:
        progress = self.progress
        return {
            "done": progress.step,
            "total": self._total(),
            "unit": "steps",
            "rate": rate,
            "images_per_s": rate * self.settings.batch,
            "left_s": (self._total() - progress.step) / rate if rate else 0.0,
            "epoch": progress.epoch + 1,
            "loss": progress.loss / max(progress.count, 1),
            "lr": self.stepper.optimizer.param_groups[0]["lr"],
        }

    def _spelling(self) -> dict[str, Any]:
        settings, model = self.settings, self.architecture
        own = isinstance(model, nn.Module)
        return {
            "data": spell(self.source),
            "model": f"{checkpoint.EXTERNAL}{type(model).__name__}" if own else spell(model),
            "task": spell(self.task),
            "objective": spell(self.objective),
            "optimizer": spell(settings.optimizer),
            "schedule": spell(settings.schedule),
            "augments": [spell(augment) for augment in settings.augments],
            "radius": spell(settings.radius),
            "extra": None if settings.extra is None else spell(settings.extra),
        }

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.clock = now

    def _save_last(self) -> None:
        if self.progress.position:
            self._count_seconds()
        self.keeper.save_last(self.progress, self.stepper, self.info, self.signature)
        self.clock = self.saved_at = time.perf_counter()


def _images_in(batches: Batches | Mixed, number: int, parts: int) -> int:
    """Images in the step that ends with batch `number` and has so many parts, over all processes."""
    first = (number + 1 - parts) * batches.batch
    return min((number + 1) * batches.batch, batches.count) - first

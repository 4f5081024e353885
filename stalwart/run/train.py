"""Training: our own loop, since an adversarial step needs control of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import (
    Architecture,
    Augment,
    Batch,
    Event,
    Examples,
    Objective,
    OptimizerMaker,
    Schedule,
    Signature,
    Source,
    Task,
)
from stalwart.core.device import pick
from stalwart.core.errors import InputError, TrainingError
from stalwart.core.rng import generator, seed_of
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.split import Splits, Subset, counts, open_splits
from stalwart.run._interrupt import Interrupt
from stalwart.run._keep import Keeper
from stalwart.run._parallel import World, joined
from stalwart.run._state import Progress
from stalwart.run._step import Stepper
from stalwart.run._validate import ROBUST_IMAGES, robust, validate, watched
from stalwart.store import checkpoint

PREPARED_FROM, PREPARED_BYTES = 5000, 64 * 1024**2
"""Training images that a model's normalisation and whitening are taken from: so many, or what fits."""


@component
class Training:
    """How to train: everything but the data, the model, the task and the objective."""

    epochs: Annotated[int, at_least(1)] = 10
    """Passes over the training images."""
    batch: Annotated[int, at_least(1)] = 128
    """Images in an optimizer step, over all processes."""
    optimizer: OptimizerMaker = "adamw()"  # type: ignore[assignment]
    """What turns gradients into steps."""
    schedule: Schedule = "cosine()"  # type: ignore[assignment]
    """The learning rate's course."""
    augments: tuple[Augment, ...] = ()
    """Random changes of the training images, in their order; may be given several times."""
    seed: int = 0
    """Of everything random: initial weights, order, augmentation, dropout, the division of train."""
    val: Annotated[float, Range(0, 1, open_high=True)] = 0.1
    """Share of train kept for validation where the data bring no validation split."""
    size: Annotated[int, at_least(1)] | tuple[int, int] | None = None
    """Bring images to this size, or (height, width), in pixels; None where all have one size."""
    ema: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    """Decay of an average of the weights, which is validated and kept in place of the last ones; 0 for none."""
    patience: Annotated[int, at_least(0)] = 0
    """Stop after so many epochs without a better validation score; 0 for never."""
    accumulate: Annotated[int, at_least(1)] = 1
    """Parts that a batch is computed in, to save memory; the gradient is the same."""
    clip: Annotated[float, at_least(0)] = 0.0
    """Largest norm of the gradient of all parameters together; 0 for no limit."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; auto measures what is faster here and never takes less than float32 unless the
    hardware is made for it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    workers: Annotated[int, at_least(0)] = 0
    """Processes that decode images where the data do not fit into memory."""
    skip_bad: bool = False
    """Leave out files that cannot be read, and count them."""
    save_every_s: Annotated[float, at_least(0)] = 60.0
    """Seconds between two saves in mid-epoch."""
    max_steps: Annotated[int, at_least(1)] | None = None
    """Stop after so many optimizer steps; the schedule still spans the epochs."""


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

    On a CPU the same seed gives the same bits, whether or not the run was killed and resumed in between. Under
    `torchrun` the processes share each batch, on one machine or many.

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
    _check(chosen, out, resume)
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


def _check(settings: Training, out: str | Path | None, resume: bool) -> None:
    """Settings that do not go together."""
    if settings.batch % settings.accumulate:
        raise InputError(
            f"batch must be a multiple of accumulate, {settings.accumulate}, to be computed in equal parts. "
            f"Got {settings.batch}."
        )
    if settings.patience and not settings.val:
        raise InputError(f"patience={settings.patience} needs validation images. Got val={settings.val:g}.")
    if resume and out is None:
        raise InputError("resume needs the run's folder: give out=...")


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

    # ------------------------------------------------------------ the course of a run

    def events(self, world: World, resume: bool) -> Iterator[Event]:
        self.world, settings = world, self.settings
        self.device = pick(settings.device)
        if world.size > 1 and self.device.type == "cuda":
            self.device = torch.device("cuda", world.local)
        splits = open_splits(self.source, val=settings.val, seed=settings.seed)
        spelled = ("optimizer", "schedule", "augments")
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
        batches = self._batches(splits.train, self.world, train=True)
        self.info = splits.train.info
        if not len(batches):
            raise InputError(f"{spell(self.source)}: the train split has no images for a batch of {batches.batch}.")
        assert batches.size is not None
        self.signature = Signature(len(self.info.classes), batches.channels, batches.size)
        per_epoch = -(-len(batches) // settings.accumulate)
        self.stepper = Stepper(
            self.world.same_start(self._build(splits.train)),
            self.task,
            self.objective,
            settings.optimizer,
            settings.schedule,
            total=per_epoch * settings.epochs,
            clip=settings.clip,
            ema=settings.ema,
            seed=settings.seed,
            world=self.world,
            device=self.device,
        )
        if resume:
            self.progress = progress = self.keeper.load(self.stepper)
        yield self._start(splits, batches)
        for note in splits.notes:
            yield Event("note", {"message": note})
        for line in batches.skipped:
            yield Event("warning", {"message": f"left out {line}"})
        yield from self._choose(batches)
        validation, watching = self._validation(splits.val)
        interrupt.patient = True
        while progress.epoch < settings.epochs:
            yield from self._epoch(batches, interrupt)
            yield from self._between(validation, watching)
            waited = progress.epoch - progress.best_epoch
            if settings.patience and validation is not None and waited >= settings.patience:
                yield Event("note", {"message": f"stopped early: no better score for {waited} epochs."})
                break
            if self._enough():
                break
        progress.finished = True
        self._save_last()
        final = {"epochs": progress.epoch, "steps": progress.step, "seconds": progress.seconds}
        final |= {"best_epoch": progress.best_epoch, **progress.best_scores}
        yield Event("result", {"kind": "train", **final, **({"path": str(self.out)} if self.out else {})})

    def _epoch(self, batches: Batches, interrupt: Interrupt) -> Iterator[Event]:
        settings, progress = self.settings, self.progress
        if progress.position == 0:
            progress.loss, progress.count = 0.0, 0
        self.clock = begun = looked = time.perf_counter()
        first_step, last = progress.step, len(batches)
        group: list[Batch] = []
        for number, batch in enumerate(batches.epoch(progress.epoch, progress.position), progress.position):
            group.append(batch)
            if len(group) < settings.accumulate and number + 1 < last:
                continue
            images = _images_in(batches, number, len(group))
            self.pending.append(self.stepper.step(group, images, progress.step))
            group = []
            if self.device.type == "cpu":  # nothing to wait for; and the weights are still those from before the step
                self._look(keep=True)
            progress.step += 1
            progress.position = number + 1
            progress.count += images
            now = time.perf_counter()
            stop = self._asked(interrupt)
            save = settings.save_every_s > 0 and now - self.saved_at > settings.save_every_s
            due = now - looked > 0.2 or number + 1 == last or self._enough()
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
                break
        self._count_seconds()

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
            watch = watched(self.objective)
            if watching is not None and watch is not None:
                score = robust(model, self.task, watching, *watch, self.settings.seed, self.world)
                figures[f"robust_{name}"] = score
                warning = self._fallen(score)
            progress.epoch += 1
            progress.position = 0
            progress.scores = {k: v for k, v in figures.items() if k.startswith(("val_", "robust_"))}
            if score is None or progress.best is None or score > progress.best:
                progress.best, progress.best_epoch, progress.best_scores = score, progress.epoch, progress.scores
                if stepper.sound():
                    self.keeper.save("best", progress, stepper, self.info, self.signature)
        try:
            yield Event("epoch", figures)
            if warning:
                yield Event("warning", {"message": warning})
        finally:  # also where nobody listens any more
            self._save_last()

    def _fallen(self, held: float) -> str:
        """Catastrophic overfitting: robustness that was there and is gone (Wong et al. 2020, section 5)."""
        peak = self.progress.peak_robust
        self.progress.peak_robust = held if peak is None else max(peak, held)
        if peak is None or peak < 0.1 or held > 0.5 * peak:
            return ""
        return (
            f"catastrophic overfitting: robust accuracy fell from {peak:.1%} to {held:.1%} in epoch "
            f"{self.progress.epoch + 1}. The best checkpoint is from before. Try a smaller step, more attack steps "
            "(objective adversarial), or fewer epochs."
        )

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

    def _batches(self, examples: Examples, world: World, *, train: bool) -> Batches:
        settings = self.settings
        part = settings.batch // settings.accumulate
        return Batches(
            examples,
            self.task,
            batch=part if train else max(part, 256),
            size=(settings.size, settings.size) if isinstance(settings.size, int) else settings.size,
            augments=settings.augments if train else (),
            seed=seed_of(settings.seed, "batches") if train else 0,
            shuffle=train,
            drop_last=train and len(examples) >= part,
            workers=settings.workers,
            device=self.device,
            rank=world.rank,
            world=world.size,
            skip_bad=settings.skip_bad,
        )

    def _validation(self, val: Examples) -> tuple[Batches | None, Batches | None]:
        """Batches to validate on; and some drawn of them, to watch robustness on, where the objective wants that."""
        if not len(val):
            return None, None
        validation = self._batches(val, self.world, train=False)
        if watched(self.objective) is None:
            return validation, None
        drawn = torch.randperm(len(val), generator=generator(self.settings.seed, "watched"))[:ROBUST_IMAGES]
        return validation, self._batches(Subset(val, drawn.sort().values.tolist()), self.world, train=False)

    def _build(self, examples: Examples) -> nn.Module:
        """The model with its initial weights, the same for a seed whatever else this process has drawn."""
        if isinstance(self.architecture, nn.Module):
            model = self.architecture.to(self.device)
            # Parts that their owner put into evaluation, such as frozen BatchNorm, stay there.
            return model if model.training else model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.settings.seed, "weights") % 2**63)
            model = self.architecture.build(self.signature)
        signature = self.signature
        bytes_each = 4 * signature.channels * signature.size[0] * signature.size[1]
        count = max(64, min(PREPARED_FROM, PREPARED_BYTES // bytes_each))
        order = torch.randperm(len(examples), generator=generator(self.settings.seed, "prepare"))
        few = self._batches(Subset(examples, order[:count].tolist()), World(), train=False)
        images = torch.cat([batch.images.cpu() for batch in few.epoch(0)])
        few.close()
        self.architecture.prepare(model, images)
        return model.train().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _choose(self, batches: Batches) -> Iterator[Event]:
        """Pick the arithmetic."""
        if self.settings.precision == "bf16":
            self.stepper.autocast = torch.autocast(self.device.type, dtype=torch.bfloat16)
        return iter(())

    # ------------------------------------------------------------ what it says and keeps

    def _start(self, splits: Splits, batches: Batches) -> Event:
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
            "train_images": batches.count,
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


def _images_in(batches: Batches, number: int, parts: int) -> int:
    """Images in the step that ends with batch `number` and has so many parts, over all processes."""
    first = (number + 1 - parts) * batches.batch
    return min((number + 1) * batches.batch, batches.count) - first

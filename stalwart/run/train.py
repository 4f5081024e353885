"""Training: our own loop, since an adversarial step needs control of it."""

from __future__ import annotations

import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

import stalwart
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
from stalwart.core.errors import InputError, RunError, TrainingError
from stalwart.core.parameters import trainable
from stalwart.core.rng import generator, seed_of
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.split import Splits, Subset, counts, open_splits
from stalwart.run import _state
from stalwart.run._parallel import World, joined
from stalwart.run._state import Progress
from stalwart.run._validate import robust, validate, watched
from stalwart.store import checkpoint
from stalwart.store.folder import RunFolder

PREPARED_FROM = 2000
"""Training images that a model's normalisation and whitening are taken from."""

FREE_TO_CHANGE = ("device", "workers", "save_every_s")
"""Settings that a resumed run may have other values of: they do not change what is computed."""


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
    run = _Run(
        catalog.make(data, "data"),
        model if isinstance(model, nn.Module) else catalog.make(model, "models"),
        catalog.make(task, "tasks"),
        catalog.make(objective, "objectives"),
        settings or Training(),
        Path(out) if out is not None else None,
    )
    with joined() as world:
        yield from run.events(world, resume)


class _Interrupt:
    """Ctrl-C noted, to be acted on between two steps; a second one acts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> _Interrupt:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


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
        if settings.batch % settings.accumulate:
            raise InputError(
                f"batch must be a multiple of accumulate, {settings.accumulate}, to be computed in equal parts. "
                f"Got {settings.batch}."
            )
        self.source, self.architecture, self.task, self.objective = source, architecture, task, objective
        self.settings, self.out = settings, out
        self.folder: RunFolder | None = None
        self.progress = Progress()
        self.ema: dict[str, Tensor] | None = None
        self.saved_at = time.perf_counter()

    # ------------------------------------------------------------ the course of a run

    def events(self, world: World, resume: bool) -> Iterator[Event]:
        self.world = world
        self.device = (
            torch.device("cuda", world.local)
            if world.size > 1 and torch.cuda.is_available()
            else pick(self.settings.device)
        )
        if resume and self.out is None:
            raise InputError("resume needs the run's folder: give out=...")
        splits = open_splits(self.source, val=self.settings.val, seed=self.settings.seed)
        self._open_folder(resume)
        try:
            with _Interrupt() as interrupt:
                for event in self._course(splits, resume, interrupt):
                    if world.first:
                        if self.folder is not None:
                            self.folder.append(event)
                        yield event
        finally:
            if self.folder is not None:
                self.folder.close()

    def _course(self, splits: Splits, resume: bool, interrupt: _Interrupt) -> Iterator[Event]:
        settings = self.settings
        batches = self._batches(splits.train, train=True)
        self.info = splits.train.info
        if not len(batches):
            raise InputError(f"{spell(self.source)}: the train split holds no images.")
        assert batches.size is not None
        self.signature = Signature(len(self.info.classes), batches.channels, batches.size)
        self.model = self._build(splits.train)
        self.world.same_start(self.model)
        self.optimizer = settings.optimizer.build(self.model)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.parameters = trainable(self.model)
        if settings.ema:
            self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if resume:
            self._load()
        total_steps = self._steps_per_epoch(batches) * settings.epochs
        values: dict[str, Any] = {"what": "train", "total": total_steps, "unit": "steps", "done": self.progress.step}
        values |= {"epochs": settings.epochs, "device": str(self.device), "parameters": _count(self.model)}
        values |= {"train_images": batches.count, "val_images": len(splits.val), "test_images": len(splits.test)}
        values["class_counts"] = dict(zip(self.info.classes, counts(splits.train), strict=True))
        yield Event("start", {**values, **self._spelling()})
        for note in splits.notes:
            yield Event("note", {"message": note})
        for line in batches.skipped:
            yield Event("warning", {"message": f"left out {line}"})
        self.autocast: AbstractContextManager[Any] = nullcontext()
        yield from self._choose(batches, total_steps)
        validation = self._batches(splits.val, train=False) if len(splits.val) else None
        while self.progress.epoch < settings.epochs:
            yield from self._epoch(batches, total_steps, interrupt)
            stopped = settings.max_steps is not None and self.progress.step >= settings.max_steps
            yield from self._between(validation)
            waited = self.progress.epoch - self.progress.best_epoch
            if settings.patience and validation is not None and waited >= settings.patience:
                yield Event("note", {"message": f"stopped early: no better score for {waited} epochs."})
                break
            if stopped:
                break
        self.progress.finished = True
        self._save_last()
        final = {"epochs": self.progress.epoch, "steps": self.progress.step, "seconds": self.progress.seconds}
        final |= {"best_epoch": self.progress.best_epoch, **self.progress.best_scores}
        yield Event("result", {"kind": "train", **final, **({"path": str(self.out)} if self.out else {})})

    def _epoch(self, batches: Batches, total_steps: int, interrupt: _Interrupt) -> Iterator[Event]:
        settings, progress, parts = self.settings, self.progress, self.settings.accumulate
        self.model.train()
        if progress.position == 0:
            progress.loss, progress.count = 0.0, 0
        losses: list[Tensor] = []  # of the steps since the last look, left on the device
        begun = looked = time.perf_counter()
        first_step = progress.step
        group: list[Batch] = []
        last = len(batches)
        for number, batch in enumerate(batches.epoch(progress.epoch, progress.position), progress.position):
            group.append(batch)
            if len(group) < parts and number + 1 < last:
                continue
            losses.append(self._step(group, self._images_in(batches, number, len(group)), total_steps))
            group = []
            progress.step += 1
            progress.position = number + 1
            now = time.perf_counter()
            done = settings.max_steps is not None and progress.step >= settings.max_steps
            due = now - looked > 0.2 or number + 1 == last or done
            if due or interrupt.asked or self.device.type == "cpu":
                self._look(losses, batches)
                losses = []
            if self.world.any(interrupt.asked) if self.world.size > 1 else interrupt.asked:
                progress.seconds += now - begun
                self._save_last()
                raise KeyboardInterrupt
            if due:
                looked = now
                rate = (progress.step - first_step) / (now - begun)
                try:
                    yield Event("progress", self._running(rate, total_steps))
                except GeneratorExit:
                    progress.seconds += time.perf_counter() - begun
                    self._save_last()
                    raise
            if settings.save_every_s and now - self.saved_at > settings.save_every_s and not done:
                progress.seconds += now - begun
                begun, first_step = now, progress.step
                self._save_last()
            if done:
                break
        progress.seconds += time.perf_counter() - begun

    def _step(self, group: list[Batch], images: int, total_steps: int) -> Tensor:
        """One optimizer step; gives the sum of the losses, not yet waited for."""
        settings = self.settings
        factor = settings.schedule(self.progress.step / total_steps)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = parameters["initial_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed((self._step_seed + self.progress.step * self.world.size + self.world.rank) % 2**63)
            for batch in group:
                if not len(batch.images):
                    continue
                with self.autocast:
                    loss = self.objective(self.model, self.task, batch).sum()
                (loss / images).backward()  # type: ignore[no-untyped-call]
                total = total + loss.detach()
        self.world.sum_(total)
        self.world.sum_gradients(self.parameters)
        if settings.clip:
            nn.utils.clip_grad_norm_(self.parameters, settings.clip)
        if self.device.type == "cpu" and not bool(total.isfinite()):
            self._stop_at(self.progress.step + 1, float(total), keep=True)
        self.optimizer.step()
        if self.ema is not None:
            self._average()
        self.progress.count += images
        return total

    def _look(self, losses: list[Tensor], batches: Batches) -> None:
        """Wait for the losses of the last steps, add them up, and stop where one is not finite."""
        if not losses:
            return
        values = torch.stack(losses).double().tolist()
        for back, value in enumerate(reversed(values)):
            if value != value or abs(value) == float("inf"):
                self._stop_at(self.progress.step - back, value, keep=False)
        self.progress.loss += sum(values)

    def _stop_at(self, step: int, value: float, *, keep: bool) -> None:
        """End training at a loss that is not finite; `keep` says that the weights are still those from before it."""
        if keep and self.out is not None and self.progress.step:
            self._save_last()
        kept = "" if self.out is None else f" The last good state is in {self.out / 'last'}."
        raise TrainingError(
            f"the loss is {value} at step {step}, epoch {self.progress.epoch + 1}.{kept} Try a lower learning rate, "
            "clip=1.0, or precision='fp32'; and look for damaged images."
        )

    def _between(self, validation: Batches | None) -> Iterator[Event]:
        """The end of an epoch: validate, keep the best, save."""
        progress, settings = self.progress, self.settings
        rate = self.optimizer.param_groups[0]["lr"]
        figures: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "epochs": settings.epochs,
            "train_loss": progress.loss / max(progress.count, 1),
            "lr": rate,
            "seconds": progress.seconds,
        }
        score: float | None = None
        warning = ""
        with self._averaged():
            if validation is not None:
                figures |= validate(self.model, self.task, validation, self.info, self.world)
                score = figures[f"val_{self.task.score}"]
                watch = watched(self.objective)
                if watch is not None:
                    held = robust(self.model, self.task, validation, *watch, settings.seed)
                    held = float(self.world.sum_(torch.tensor(held, device=self.device))) / self.world.size
                    figures[f"robust_{self.task.score}"] = score = held
                    warning = self._fallen(held)
            progress.epoch += 1
            progress.position = 0
            if score is None or progress.best is None or score > progress.best:
                progress.best, progress.best_epoch = score, progress.epoch
                progress.best_scores = {k: v for k, v in figures.items() if k.startswith(("val_", "robust_"))}
                self._save("best")
        yield Event("epoch", figures)
        if warning:
            yield Event("warning", {"message": warning})
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

    def _batches(self, examples: Examples, *, train: bool) -> Batches:
        settings = self.settings
        size = settings.size
        part = settings.batch // settings.accumulate
        return Batches(
            examples,
            self.task,
            batch=part if train else max(part, 256),
            size=(size, size) if isinstance(size, int) else size,
            augments=settings.augments if train else (),
            seed=seed_of(settings.seed, "batches") if train else 0,
            shuffle=train,
            drop_last=train and len(examples) >= part,
            workers=settings.workers,
            device=self.device,
            rank=self.world.rank,
            world=self.world.size,
            skip_bad=settings.skip_bad,
        )

    def _build(self, examples: Examples) -> nn.Module:
        """The model with its initial weights, the same for a seed whatever else this process has drawn."""
        if isinstance(self.architecture, nn.Module):
            return self.architecture.to(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.settings.seed, "weights") % 2**63)
            model = self.architecture.build(self.signature)
        order = torch.randperm(len(examples), generator=generator(self.settings.seed, "prepare"))
        few = Subset(examples, order[:PREPARED_FROM].tolist())
        world, self.world = self.world, World()
        sample = next(self._batches(few, train=False).epoch(0))
        self.world = world
        self.architecture.prepare(model, sample.images.cpu())
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _choose(self, batches: Batches, total_steps: int) -> Iterator[Event]:
        """Pick the arithmetic."""
        if self.settings.precision == "bf16":
            self.autocast = torch.autocast(self.device.type, dtype=torch.bfloat16)
        return iter(())

    def _steps_per_epoch(self, batches: Batches) -> int:
        return -(-len(batches) // self.settings.accumulate)

    def _images_in(self, batches: Batches, number: int, parts: int) -> int:
        """Images in the step that ends with batch `number` and has so many parts, over all processes."""
        first = (number + 1 - parts) * batches.batch
        return min((number + 1) * batches.batch, batches.count) - first

    @property
    def _step_seed(self) -> int:
        if not hasattr(self, "_seed"):
            self._seed = seed_of(self.settings.seed, "steps")
        return self._seed

    @torch.no_grad()
    def _average(self) -> None:
        assert self.ema is not None
        # Early on a long memory would be of the initial weights, so it grows with the steps.
        decay = min(self.settings.ema, (1 + self.progress.step) / (10 + self.progress.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def _averaged(self) -> AbstractContextManager[None]:
        return _Swapped(self.model, self.ema) if self.ema is not None else nullcontext()

    def _running(self, rate: float, total_steps: int) -> dict[str, Any]:
        progress = self.progress
        return {
            "done": progress.step,
            "total": total_steps,
            "unit": "steps",
            "rate": rate,
            "images_per_s": rate * self.settings.batch,
            "left_s": (total_steps - progress.step) / rate if rate else 0.0,
            "epoch": progress.epoch + 1,
            "loss": progress.loss / max(progress.count, 1),
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    # ------------------------------------------------------------ what lies on disk

    def _spelling(self) -> dict[str, str]:
        settings, model = self.settings, self.architecture
        return {
            "data": spell(self.source),
            "model": f"external_{type(model).__name__}" if isinstance(model, nn.Module) else spell(model),
            "task": spell(self.task),
            "objective": spell(self.objective),
            "optimizer": spell(settings.optimizer),
            "schedule": spell(settings.schedule),
            "augments": spell(settings.augments),
        }

    def _config(self) -> dict[str, Any]:
        spelled = ("optimizer", "schedule", "augments")
        plain = {f.name: getattr(self.settings, f.name) for f in fields(self.settings) if f.name not in spelled}
        return {
            "stalwart": stalwart.__version__,
            "spelling": self._spelling(),
            "settings": plain,
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "platform": platform.platform(),
                "processor": platform.processor() or platform.machine(),
                "threads": torch.get_num_threads(),
                "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device),
                "processes": self.world.size,
            },
            "command": sys.argv[1:] if Path(sys.argv[0]).name == "stalwart" else [],
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _open_folder(self, resume: bool) -> None:
        if self.out is None or not self.world.first:
            return
        if not resume:
            self.folder = RunFolder.create(self.out, self._config()).lock()
            return
        self.folder = RunFolder.open(self.out).lock()
        try:
            self._refuse_changes(self.folder.config)
        except BaseException:
            self.folder.close()
            raise

    def _refuse_changes(self, config: dict[str, Any]) -> None:
        """A resumed run is the run that was started."""
        ours = self._config()
        for part in ("spelling", "settings"):
            for name, now in ours[part].items():
                then = config.get(part, {}).get(name)
                now = list(now) if isinstance(now, tuple) else now
                if name not in FREE_TO_CHANGE and then != now:
                    raise RunError(f"{self.out} was started with {name}={then!r} and cannot go on with {now!r}.")

    def _load(self) -> None:
        assert self.out is not None
        last = self.out / "last"
        if (last / _state.STATE).is_file():
            self.progress = _state.load(last, self.model, self.optimizer, self.ema)
            if self.progress.finished:
                raise RunError(f"{self.out} has finished: there is nothing to go on with.")

    def _save_last(self) -> None:
        self.saved_at = time.perf_counter()
        if self.folder is None:
            return
        with self._averaged():
            self._save("last")
        _state.save(self.folder.path / "last", self.progress, self.model, self.optimizer, self.ema)

    def _save(self, name: str) -> None:
        if self.folder is None:
            return
        progress, spelling = self.progress, self._spelling()
        checkpoint.save(
            self.folder.path / name,
            self.model,
            {
                **{key: spelling[key] for key in ("task", "model", "data", "objective")},
                "classes": list(self.info.classes),
                "signature": {
                    "classes": self.signature.classes,
                    "channels": self.signature.channels,
                    "size": list(self.signature.size),
                },
                "scores": progress.best_scores if name == "best" else {},
                "epoch": progress.epoch,
                "step": progress.step,
                "seed": self.settings.seed,
                "licence": self.info.licence,
                "versions": {"stalwart": stalwart.__version__, "torch": torch.__version__},
            },
        )


class _Swapped:
    """The model with other weights for as long as the block lasts."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        self.model, self.weights = model, weights

    def __enter__(self) -> None:
        self.own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self._put(self.weights)

    def __exit__(self, *_: object) -> None:
        self._put(self.own)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, value in self.model.state_dict().items():
            value.copy_(weights[name])


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

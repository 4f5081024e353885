"""What a training run keeps on disk: its configuration, its events, its checkpoints and the state to resume from."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import stalwart
from stalwart.core.contracts import Event, Info, Signature
from stalwart.core.errors import RunError, TrainingError
from stalwart.run import _state
from stalwart.run._state import Progress
from stalwart.run._step import Stepper
from stalwart.run.probe import Choice
from stalwart.store import checkpoint
from stalwart.store.folder import RunFolder

FREE_TO_CHANGE = ("device", "workers", "cache", "save_every_s")
"""Settings that a resumed run may have other values of: they do not change what is computed."""


class Keeper:
    """Writes for the first process of a run that has a folder; for the others it does nothing.

    Args:
        spelling: data, model, task, objective, optimizer, schedule and augments as spelled.
        settings: the plain settings.
    """

    def __init__(self, out: Path | None, spelling: Mapping[str, Any], settings: Mapping[str, Any], first: bool) -> None:
        self.out, self.spelling, self.settings, self.first = out, spelling, settings, first
        self.folder: RunFolder | None = None
        self.new = False

    def open(self, resume: bool, device: torch.device, processes: int) -> None:
        """Make the folder, or open it to go on.

        Raises:
            RunError: the folder is in use, holds something else, or a run with other settings.
        """
        if self.out is None or not self.first:
            return
        if not resume:
            self.folder = RunFolder.create(self.out, self._config(device, processes))
            self.new = True
            return
        self.folder = RunFolder.open(self.out).lock()
        try:
            self._refuse_changes(self.folder.config)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder; a run that ended before it had anything to keep leaves none behind."""
        if self.folder is None:
            return
        if self.new and not (self.folder.path / "last").exists() and not (self.folder.path / "best").exists():
            self.folder.discard()
        self.folder.close()

    def append(self, event: Event) -> None:
        if self.folder is not None:
            self.folder.append(event)

    def chosen(self) -> Choice | None:
        """How a resumed run has computed so far: another layout or precision would end at other bits."""
        config = self.folder.config if self.folder is not None else {}
        match config.get("choice"):
            case {
                "layout": "contiguous" | "channels_last" as layout,
                "precision": "fp32" | "bf16" as precision,
            }:
                compiled = bool(config["choice"].get("compile"))
                return Choice(layout, precision, compile=compiled, reason="as the run was started")
        return None

    def keep_choice(self, choice: Choice) -> None:
        if self.folder is not None and self.chosen() is None:
            kept = {"layout": choice.layout, "precision": choice.precision, "compile": choice.compile}
            self.folder.extend_config({"choice": {**kept, "reason": choice.reason, "step_s": dict(choice.table)}})

    def load(self, stepper: Stepper) -> Progress:
        """Put back what `save_last` wrote; a fresh start where it never came to that. Every process reads it.

        Raises:
            RunError: the run has finished.
            CheckpointError: damaged, or of another model.
        """
        assert self.out is not None
        if not (self.out / "last" / _state.STATE).is_file():
            progress = Progress()
        else:
            progress = _state.load(self.out / "last", stepper.model, stepper.optimizer, stepper.ema, stepper.memories)
            if progress.finished:
                raise RunError(f"{self.out} has finished: there is nothing to go on with.")
        if self.folder is not None:
            self.folder.forget(progress.epoch)
        return progress

    def save_last(self, progress: Progress, stepper: Stepper, info: Info, signature: Signature) -> None:
        """Keep where training stands.

        Raises:
            TrainingError: a weight is not finite; what was kept before stays.
            StorageError: the disk is full; what was kept before stays.
        """
        if self.folder is None:
            return
        if not stepper.sound():
            raise TrainingError(
                f"weights are not finite after step {progress.step}, epoch {progress.epoch + 1}.{self.kept()} "
                "Try a lower learning rate, clip=1.0, or precision='fp32'."
            )
        with stepper.averaged():
            self.save("last", progress, stepper, info, signature)
        last = self.folder.path / "last"
        _state.save(last, progress, stepper.model, stepper.optimizer, stepper.ema, stepper.memories)

    def save(self, name: str, progress: Progress, stepper: Stepper, info: Info, signature: Signature) -> None:
        """Keep the model as it stands."""
        if self.folder is None:
            return
        card = {
            **{key: self.spelling[key] for key in ("task", "model", "data", "objective")},
            "classes": list(info.classes),
            "signature": {
                "classes": signature.classes,
                "channels": signature.channels,
                "size": list(signature.size),
            },
            "scores": progress.best_scores if name == "best" else progress.scores,
            "epoch": progress.epoch,
            "step": progress.step,
            "seed": self.settings["seed"],
            "licence": info.licence,
            "versions": {"stalwart": stalwart.__version__, "torch": torch.__version__},
        }
        checkpoint.save(self.folder.path / name, stepper.model, card)

    def kept(self) -> str:
        """Where the last good state is, for a message; '' where there is none."""
        there = self.out is not None and (self.out / "last" / _state.STATE).is_file()
        return f" The last good state is in {self.out}/last." if there else ""

    def _config(self, device: torch.device, processes: int) -> dict[str, Any]:
        return {
            "stalwart": stalwart.__version__,
            "spelling": dict(self.spelling),
            "settings": dict(self.settings),
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "platform": platform.platform(),
                "processor": platform.processor() or platform.machine(),
                "threads": torch.get_num_threads(),
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
                "processes": processes,
            },
            "command": sys.argv[1:] if Path(sys.argv[0]).name == "stalwart" else [],
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _refuse_changes(self, config: Mapping[str, Any]) -> None:
        """A resumed run is the run that was started."""
        for part, ours in (("spelling", self.spelling), ("settings", self.settings)):
            for name, value in ours.items():
                if name not in config.get(part, {}):  # a run of an older version, which had no such setting
                    continue
                then, now = config.get(part, {}).get(name), list(value) if isinstance(value, tuple) else value
                if name not in FREE_TO_CHANGE and then != now:
                    raise RunError(f"{self.out} was started with {name}={then!r} and cannot go on with {now!r}.")

"""A run is a folder: configuration, events, checkpoints, results."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from torch import Tensor

from stalwart.core.contracts import Event
from stalwart.core.errors import CheckpointError, InputError, RunError
from stalwart.store import atomic
from stalwart.store.checkpoint import save_tensors

CONFIG, EVENTS, RESULTS, LOCK = "config.json", "events.jsonl", "results", ".lock"
TENSORBOARD = "tensorboard"
FORMAT = 1
LONGEST_NAME = 150
"""Letters of a result's name; file systems take 255 and an ending."""
PROGRESS_EVERY_S = 1.0
"""Progress is kept at most so often: a log of every step would outgrow what it describes."""


class RunFolder:
    """One run on disk. Use `create` or `open`."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config
        self._lock: TextIO | None = None
        self._events: TextIO | None = None
        self._progress_at = 0.0

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> RunFolder:
        """A new run, locked until `close`.

        Raises:
            RunError: a run or something else stands there already, or another process is at work there.
        """
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} must be a folder for the run. Got a file.")
        cls._refuse_other(path)
        full = {"format": FORMAT, **config}
        folder = cls(path, full).lock()
        try:
            cls._refuse_other(path)  # once more, now that nobody else can make one
            atomic.write_json(path / CONFIG, full)
        except BaseException:
            folder.close()
            raise
        return folder

    @staticmethod
    def _refuse_other(path: Path) -> None:
        if (path / CONFIG).exists():
            raise RunError(
                f"{path} holds a run already. Go on with it: stalwart train --resume {path}; or choose another --out."
            )
        if path.is_dir() and any(not item.name.startswith(".") and item.name != TENSORBOARD for item in path.iterdir()):
            raise RunError(f"{path} holds other files; a run needs a folder of its own.")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run that stands.

        Raises:
            RunError: no run there, or its configuration is damaged.
        """
        if not path.is_dir():
            raise RunError(f"{path} is no run folder: it does not exist.")
        if not (path / CONFIG).is_file():
            raise RunError(f"{path} is no run folder: it has no {CONFIG}.")
        try:
            config = atomic.read_json(path / CONFIG)
        except InputError as error:
            raise RunError(f"{error} It is not the configuration of a run.") from None
        if config.get("format") != FORMAT:
            raise RunError(f"{path / CONFIG}: format must be {FORMAT}. Got {config.get('format')!r}.")
        return cls(path, config)

    @classmethod
    def begin(cls, path: Path, config: Mapping[str, Any], resume: bool) -> RunFolder:
        """A new run, or one that stands and was begun with the same `spelling` and `settings`; locked until `close`.

        Raises:
            RunError: as `create` and `open` do, or what stands there was begun otherwise.
        """
        if not resume:
            return cls.create(path, config)
        folder = cls.open(path)
        for part in ("spelling", "settings"):
            if folder.config.get(part) != config[part]:
                raise RunError(f"{path} was begun with {part} {folder.config.get(part)}. Got {config[part]}.")
        return folder.lock()

    def lock(self) -> RunFolder:
        """Keep everyone else out until `close`. The system lets go of it when this process dies.

        Raises:
            RunError: another process has it.
        """
        if self._lock is not None:
            return self
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - it stays open: the lock lives as long
        except OSError as error:
            raise RunError(f"{self.path} cannot be written to: {error.strerror}.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read(32).strip() or "unknown"
            file.close()
            raise RunError(f"{self.path} is in use by process {owner}. Wait for it, or choose another --out.") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file
        return self

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock and the event log."""
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Take back a run that came to nothing, so that the next try may use its folder."""
        self.close()
        for name in (CONFIG, EVENTS, LOCK):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in there
            self.path.rmdir()

    def append(self, event: Event) -> None:
        """Keep an event; progress about once a second.

        Raises:
            StorageError: the disk is full.
        """
        now = time.time()
        if event.kind == "progress":
            if now - self._progress_at < PROGRESS_EVERY_S:
                return
            self._progress_at = now
        line = json.dumps(atomic.plain({"time": round(now, 3), "kind": event.kind, **event.values}), ensure_ascii=False)
        try:
            if self._events is None:
                self._events = self._open_events()
            self._events.write(line + "\n")
            self._events.flush()
        except OSError as error:
            raise atomic.StorageError(f"{self.path / EVENTS} cannot be written: {error.strerror}.") from None

    def _open_events(self) -> TextIO:
        """The log, opened for more; a last line that a kill tore is cut off first."""
        path = self.path / EVENTS
        if path.exists():
            with open(path, "rb+") as file:
                end = file.seek(0, os.SEEK_END)
                back = min(end, 1 << 20)
                file.seek(end - back)
                tail = file.read(back)
                if tail and not tail.endswith(b"\n"):
                    file.truncate(end - back + tail.rfind(b"\n") + 1)
        return open(path, "a", encoding="utf-8")

    def extend_config(self, more: Mapping[str, Any]) -> None:
        """Add to the configuration what was only found out on the way."""
        self.config = {**self.config, **more}
        atomic.write_json(self.path / CONFIG, self.config)

    def forget(self, epoch: int) -> None:
        """Take back the log of epochs after `epoch`, which a resumed run goes through again."""
        kept = [event for event in self.events() if not (event["kind"] == "epoch" and event.get("epoch", 0) > epoch)]
        if (self.path / EVENTS).exists():
            text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept)
            atomic.write_text(self.path / EVENTS, text)

    def events(self) -> Iterator[dict[str, Any]]:
        """The kept events in order; lines that are no JSON objects are left out."""
        path = self.path / EVENTS
        if not path.exists():
            return
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if isinstance(event, dict) and isinstance(event.get("kind"), str):
                    yield event

    def write_result(self, name: str, result: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> Path:
        """Keep figures as `results/NAME.json`, and pictures beside them; an older result of that name goes.

        Args:
            name: what the result is of, in any words, such as an attack and a threat as spelled.
        """
        stem = _file_name(name)
        path = self.path / RESULTS / f"{stem}.json"
        pictures = path.with_name(f"{stem}.safetensors")
        if tensors:
            save_tensors(pictures, tensors)
        else:
            pictures.unlink(missing_ok=True)
        atomic.write_json(path, result)
        return path

    def read_results(self) -> dict[str, dict[str, Any]]:
        """All results by name.

        Raises:
            CheckpointError: one that is damaged.
        """
        found = {}
        for path in sorted((self.path / RESULTS).glob("*.json")):
            try:
                found[path.stem] = atomic.read_json(path)
            except InputError as error:
                raise CheckpointError(str(error)) from None
        return found


def _file_name(words: str) -> str:
    """What a result's file is called; names that are cut stay apart by their digest."""
    name = re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"

"""Writes that are whole or not there: a temporary file in the same folder, flushed, then renamed."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stalwart.core.errors import InputError, TrainingError


class StorageError(TrainingError):
    """A file that cannot be written. What stood there before is still whole."""


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file beside `path`, and put it in `path`'s place when it is complete.

    Raises:
        StorageError: the disk is full, the folder cannot be written to.
    """
    write_together([(path, fill)])


def write_together(parts: Sequence[tuple[Path, Callable[[Path], None]]]) -> None:
    """Write several files that belong together: none takes its place before all of them are complete on the disk.

    A kill can come between the renames and no earlier, so what belongs together should say so of itself.

    Raises:
        StorageError: the disk is full, a folder cannot be written to; all the files are still what they were.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for path, fill in parts:
            with _spoken(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
                os.close(handle)
                written.append((Path(name), path))
                fill(Path(name))
                _flush(Path(name))
                os.chmod(name, 0o644)
        for temporary, path in written:
            with _spoken(path):
                os.replace(temporary, path)
        for folder in {path.parent for path, _ in parts}:
            with _spoken(folder):
                _flush(folder)
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    write(path, lambda temporary: _put(temporary, data))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Readable JSON. NaN and infinities become null: JSON has none."""
    write_text(path, spelled(value))


def spelled(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def _spoken(path: Path) -> Iterator[None]:
    """Turn what the system says into one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else (error.strerror or str(error))
        raise StorageError(f"{path} cannot be written: {reason}. What stood there before is kept.") from None


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(value: Any) -> Any:
    """The value with tuples as lists and numbers that JSON lacks as None."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def read_json(path: Path, *, most: int = 64 * 1024**2) -> dict[str, Any]:
    """A JSON object from a file of at most `most` bytes.

    Raises:
        InputError: missing, too large, not JSON, not an object; it names the file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise InputError(f"{path} must have at most {most:,} bytes. Got more.")
        value = json.loads(data.decode(), parse_constant=_no_constant)
    except FileNotFoundError:
        raise InputError(f"{path} is missing.") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({str(error).splitlines()[0]}).") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object. Got {type(value).__name__}.")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")

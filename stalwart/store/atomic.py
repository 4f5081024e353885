"""Writes that are whole or not there: a temporary file in the same folder, flushed, then renamed."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stalwart.core.errors import InputError, StalwartError


class StorageError(StalwartError, OSError):
    """A file that cannot be written. What stood there before is still whole."""


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file beside `path`, and put it in `path`'s place when it is complete.

    Raises:
        StorageError: the disk is full, the folder cannot be written to.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        fill(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise StorageError(f"{path} cannot be written: {reason}. What stood there before is kept.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write(path, lambda temporary: _put(temporary, text))


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Readable JSON. NaN and infinities become null: JSON has none."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


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
        size = path.stat().st_size
        if size > most:
            raise InputError(f"{path} must have at most {most:,} bytes. Got {size:,}.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({str(error).splitlines()[0]}).") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object. Got {type(value).__name__}.")
    return value

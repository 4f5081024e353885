"""Fetching a data set from its publisher, when the user asks for it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from stalwart.core.errors import DataError

TIMEOUT_S = 30.0
"""How long a publisher may stay silent."""


def fetch_tar(url: str, md5: str, size: int, root: Path, inside: str, names: Sequence[str], max_bytes: int) -> None:
    """Fetch a .tar.gz over https and put its files `inside/NAME` under `root`: all of them, or nothing.

    Args:
        md5: the archive's checksum.
        size: its size in bytes; no more is read.
        inside: the archive's folder that holds the files, and the one made under `root`.
        names: the files wanted; others are left.
        max_bytes: the largest of them.

    Raises:
        DataError: no network, another archive than expected, no space; it says where to put the files by hand.
    """
    by_hand = f"Fetch {url} by hand and unpack it in {root}."
    if not url.startswith("https://"):
        raise DataError(f"{url}: expected an https address.")
    if (root / inside).exists():
        raise DataError(f"{root / inside}: expected no such folder, or a whole one. Got one with files missing.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as work:
            archive = Path(work) / "archive"
            with archive.open("wb") as file:
                came = _download(url, size, file)
            if came != md5:
                raise DataError(f"{url}: expected an archive of md5 {md5}. Got {came}. {by_hand}")
            unpacked = Path(work) / inside
            unpacked.mkdir()
            _unpack(archive, unpacked, inside, names, max_bytes)
            unpacked.rename(root / inside)  # within one folder, so it appears whole or not at all
    except urllib.error.URLError as error:
        raise DataError(f"{url}: expected an answer. Got {error.reason}. {by_hand}") from None
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{url}: expected a whole archive. Got a damaged one ({error}). {by_hand}") from None
    except OSError as error:
        raise DataError(f"{url}: could not be fetched to {root} ({error}). {by_hand}") from None


def _download(url: str, size: int, file: IO[bytes]) -> str:
    """Write what is at `url`, `size` bytes at most; its md5."""
    digest = hashlib.md5(usedforsecurity=False)
    left = size + 1
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        if not answer.geturl().startswith("https://"):
            raise DataError(f"{url}: expected an https address all the way. Got {answer.geturl()}.")
        while left > 0 and (chunk := answer.read(min(1 << 20, left))):
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _unpack(archive: Path, target: Path, inside: str, names: Sequence[str], max_bytes: int) -> None:
    """Only files of the wanted names, by those names: nothing in the archive chooses where it is written."""
    missing = set(names)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            folder, _, name = member.name.removeprefix("./").rpartition("/")
            if folder != inside or name not in missing:
                continue
            source = tar.extractfile(member) if member.isreg() and member.size <= max_bytes else None
            if source is None:
                raise DataError(f"{member.name}: expected a file of at most {max_bytes:,} bytes in the archive.")
            with source, (target / name).open("wb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                os.fsync(file.fileno())
            missing.discard(name)
    if missing:
        raise DataError(f"{archive}: expected {sorted(missing)[0]!r} in the archive. Got none.")

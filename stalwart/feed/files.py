"""Examples that lie in image files, one class each, decoded when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stalwart.core.contracts import Info, Sample
from stalwart.core.errors import DataError
from stalwart.feed.decode import SUFFIXES, decode

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""What folders of a split may be called."""


class FileExamples:
    """One split as image files and their class indices.

    Args:
        info: what the source tells of itself; its `channels` is what files are decoded to.
        files: paths of images.
        targets: their class indices.
    """

    def __init__(self, info: Info, files: Sequence[str], targets: Sequence[int]) -> None:
        self._info = info
        self._files = list(files)
        self._targets = list(targets)

    @property
    def info(self) -> Info:
        return self._info

    @property
    def strata(self) -> Sequence[int]:
        return self._targets

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        file = self._files[index]
        return Sample(decode(file, self._info.channels), self._targets[index], file)

    def arrays(self) -> None:
        return None


def images_under(folder: Path, root: Path) -> list[str]:
    """The image files in a folder and the folders within, in the order of their names.

    Hidden files and folders are passed over, as are links that lead out of `root`, and files that are no images by
    their ending.

    Raises:
        DataError: the folder cannot be read, or is itself a link that leads out of `root`.
    """
    inside = root.resolve()
    if not folder.resolve().is_relative_to(inside):
        raise DataError(f"{folder}: expected a folder within {root}. Got a link that leads out of it.")
    return sorted(_walk(folder, inside, frozenset()))


def folders_in(folder: Path, root: Path) -> list[Path]:
    """The folders within a folder, hidden ones and links that lead out of `root` left out, by name.

    Raises:
        DataError: the folder is not there or cannot be read.
    """
    return sorted(Path(entry.path) for entry in _entries(folder, root.resolve()) if entry.is_dir())


def _entries(folder: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith((".", "__MACOSX"))
                if not hidden and (not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)):
                    yield entry
    except OSError as error:
        raise DataError(f"{folder}: expected a folder. Got {(error.strerror or str(error)).lower()}.") from None


def _walk(folder: Path, root: Path, above: frozenset[Path]) -> Iterator[str]:
    here = folder.resolve()
    if here in above:  # a link to a folder above: a circle
        return
    for entry in _entries(folder, root):
        if entry.is_dir():
            yield from _walk(Path(entry.path), root, above | {here})
        elif entry.is_file() and entry.name.lower().endswith(SUFFIXES):
            yield entry.path

"""Decoded images and masks on a disk, mapped into memory: for sets that are larger than memory."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from torch import Tensor

from stalwart.core.errors import InputError

EXTENT = 64 * 1024**2
"""Bytes that a file has at least: one for each mask would be more than an operating system maps."""
LEAST = 1024
"""Bytes from which on a tensor is worth a place here."""


class Shelf:
    """Tensors of bytes that lie in nameless files of a folder. The operating system keeps in memory what there is room
    for; the files go with the last tensor that looks at them, and with the process, however it ends.

    Raises:
        InputError: no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"cache must be a folder that is there. Got {str(folder)!r}.")
        self._file: mmap.mmap | None = None
        self._used = 0

    def room(self, shape: Sequence[int], dtype: torch.dtype = torch.uint8) -> Tensor:
        """Zeros of a type of one byte, uint8 or bool.

        Raises:
            InputError: the disk has no room for them.
        """
        size = math.prod(shape)
        if self._file is None or self._used + size > len(self._file):
            self._file, self._used = self._mapped(max(size, EXTENT)), 0
        first, self._used = self._used, self._used + size
        return torch.frombuffer(self._file, dtype=dtype, count=size, offset=first).view(*shape)

    def keep(self, target: Any) -> Any:
        """The same target, with its masks and maps on the disk."""
        if isinstance(target, Tensor):
            if target.dtype not in (torch.uint8, torch.bool) or target.numel() < LEAST:
                return target
            return self.room(target.shape, target.dtype).copy_(target)
        if is_dataclass(target) and not isinstance(target, type):
            return replace(target, **{part.name: self.keep(getattr(target, part.name)) for part in fields(target)})
        return target

    def _mapped(self, size: int) -> mmap.mmap:
        try:
            with TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # a full disk is told of now, and does not end the process later
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise InputError(
                f"cache {str(self.folder)!r} cannot take a file of {size / 1e9:.2f} GB: {error.strerror}."
            ) from None

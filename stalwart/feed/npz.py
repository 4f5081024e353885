"""Arrays out of .npz files: no pickle, no size on trust."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from stalwart.core.errors import DataError

MAX_BYTES = 4 * 1024**3
"""The most that a file's arrays may take, unpacked."""

Array = np.ndarray[Any, np.dtype[Any]]


def read_npz(path: str | os.PathLike[str], wanted: Iterable[str], max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Those of the wanted arrays that the file holds: booleans, integers or floats of any shape.

    Raises:
        DataError: no such file, no .npz, larger than `max_bytes` unpacked, damaged, or an array of objects.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise DataError(f"{name}: expected each array once. Got two of one name.")
            chosen = {key: members[f"{key}.npy"] for key in wanted if f"{key}.npy" in members}
            total = sum(info.file_size for info in chosen.values())
            if total > max_bytes:
                raise DataError(f"{name}: expected at most {max_bytes:,} bytes of arrays. Got {total:,}.")
            result = {}
            for key, info in chosen.items():
                with archive.open(info) as file:
                    result[key] = _read_npy(file, info.file_size, f"{name}, array {key!r}")
            return result
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{name}: expected an .npz file. Got {(error.strerror or str(error)).lower()}.") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{name}: expected a whole .npz file. Got a damaged one ({error}).") from None
    except Exception as error:  # NumPy's header reader and zlib raise what they like at damaged files
        raise DataError(f"{name}: expected a whole .npz file. Got a damaged one ({error}).") from None


def _read_npy(file: IO[bytes], size: int, who: str) -> Array:
    """One array. Its header's claim must match the member's size before anything of that size is made."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise DataError(f"{who}: expected version 1 or 2 of the format. Got {version}.")
    if dtype.kind not in "biuf":
        raise DataError(f"{who}: expected numbers. Got {dtype}.")
    claimed = math.prod(shape) * dtype.itemsize
    there = size - file.tell()
    if claimed != there:
        raise DataError(f"{who}: expected {claimed:,} bytes for shape {shape} of {dtype}. Got {there:,}.")
    data = file.read(there)
    if len(data) != there:
        raise DataError(f"{who}: expected {there:,} bytes. Got {len(data):,}.")
    array = np.frombuffer(bytearray(data), dtype)  # a bytearray: torch wants writable memory
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)

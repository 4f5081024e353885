"""COCO's run-length encoding of masks: runs of zeros and ones by turns, down the columns, zeros first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stalwart.core.errors import DataError
from stalwart.feed.structured import field, shown

Mask = np.ndarray[Any, np.dtype[np.bool_]]

GROUPS = 7
"""Characters of one compressed number at most: 5 bits each, and runs have 32."""


def read(record: Any, size: tuple[int, int], where: str) -> Mask:
    """(H, W) the mask of a record {'size': [H, W], 'counts': list or text}.

    Args:
        size: the image's (height, width), which the record must have too: nothing is allocated before it is known to.

    Raises:
        DataError: another size, runs that do not add up to the image, no runs at all.
    """
    claimed = field(record, "size", list, "a list [height, width]", where)
    if claimed != list(size):
        raise DataError(f"{where}: expected 'size' [{size[0]}, {size[1]}], the image's. Got {shown(claimed)}.")
    counts = field(record, "counts", (list, str), "a list of runs or their compressed text", where)
    return decode(counts if isinstance(counts, list) else expand(counts, where), size, where)


def decode(counts: Sequence[Any], size: tuple[int, int], where: str) -> Mask:
    """(H, W) of the runs.

    Raises:
        DataError: no whole numbers, or runs that do not add up to the image.
    """
    total = size[0] * size[1]
    for run in counts:
        if type(run) is not int or not 0 <= run <= total:
            raise DataError(f"{where}: expected 'counts' as whole numbers of 0 to {total:,}. Got {shown(run)}.")
    if sum(counts) != total:
        raise DataError(f"{where}: expected 'counts' that add up to {size[0]} × {size[1]}. Got {sum(counts):,}.")
    ones = np.arange(len(counts)) % 2 == 1
    return np.repeat(ones, np.asarray(counts, dtype=np.int64)).reshape(size[1], size[0]).T


def expand(text: str, where: str) -> list[int]:
    """The runs of compressed text: numbers of 5 bits a character, the lowest first, 32 where more follow; from the
    fourth on they are differences from the last but one.

    Raises:
        DataError: characters that mean nothing, or a number that does not end.
    """
    counts: list[int] = []
    value = groups = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or groups == GROUPS:
            raise DataError(f"{where}: expected 'counts' as COCO compresses them. Got {shown(text)}.")
        value |= (code & 31) << (5 * groups)
        groups += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << (5 * groups)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = groups = 0
    if groups:
        raise DataError(f"{where}: expected 'counts' as COCO compresses them. Got text that is cut off.")
    return counts

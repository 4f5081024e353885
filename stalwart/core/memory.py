"""The C library's allocator, told to keep large blocks."""

from __future__ import annotations

import ctypes
import sys


def keep_memory() -> bool:
    """Have glibc keep freed memory instead of giving every large block back to the system.

    Each training step on a CPU takes and frees tensors of megabytes; by default each is mapped, filled with zeroed
    pages and unmapped anew, which is a tenth to a fifth of a small network's step. It is for the whole process and for
    good, and the process's memory no longer shrinks, so only commands call it, never the library.

    Returns:
        Whether it was done; False where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    no_mapping, trim_threshold, top_pad = (-4, 0), (-1, 2**31 - 1), (-2, 64 << 20)
    return all(bool(mallopt(*option)) for option in (no_mapping, trim_threshold, top_pad))

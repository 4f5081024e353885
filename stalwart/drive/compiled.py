"""Plain Python functions made into machine code by Numba, with their types kept for the type checker.

Kernels are cached beside their source file. Numba knows a stale one by the file that holds the function; here also by
the files that this one imports, as called kernels and constants are built into their callers.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numba.core.registry import CPUDispatcher
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array in a kernel; its docstring says of what."""
Real = Any
"""A number with a fraction, in Python or of any width: which it is decides how kernels are compiled."""
Whole = Any
"""An integer, likewise."""
F = TypeVar("F", bound=Callable[..., Any])


def _start_threads() -> None:
    """Start Numba's threads, and leave PyTorch's number of them as it was.

    When its pool starts, Numba tells OpenMP to use all cores from then on, and PyTorch, which asks OpenMP, would: two
    processes of one thread each would become two of two, four times as slow.
    """
    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)


_start_threads()

FAST = {"contract", "arcp", "nsz", "reassoc"}
"""What the compiler may do with sums and products. Infinities and NaN keep their meaning."""


def single(value: float) -> float:
    """A float32 for a kernel's module to hold: with a plain 0.5 a kernel would compute in float64."""
    return cast(float, np.float32(value))


class Inner(CPUDispatcher):
    """A kernel that others call: it is compiled without the entrance from Python that Numba makes for every function,
    which would take a third of its compile time. Called from Python all the same, it is given one."""

    def __call__(self, *given: Any) -> Any:
        entrance = self.__dict__.get("entrance")
        if entrance is None:
            entrance = self.__dict__["entrance"] = numba.njit(lambda *given: self(*given))
        return entrance(*given)


_HOUSE = Path(__file__).parents[1]
_IMPORT = re.compile(rb"^ *from stalwart\.((?:drive|mdp)(?:\.\w+)*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


@functools.cache
def _text(path: Path) -> bytes:
    return path.read_bytes()


@functools.cache
def _known_by(text: bytes) -> tuple[bytes, frozenset[Path]]:
    """A file's digest, and the files it imports from the rooms with kernels: modules, and packages of such."""
    found: set[Path] = set()
    for room, names in _IMPORT.findall(text):
        place = _HOUSE.joinpath(*room.decode().split("."))
        parts = (place / f"{name.decode()}.py" for name in re.findall(rb"\w+", names))
        found.update(file for file in (place.with_suffix(".py"), place / "__init__.py", *parts) if file.is_file())
    return hashlib.sha256(text).digest(), frozenset(found)


@functools.cache
def _stands_on(path: Path) -> bytes:
    """Digest of a file and of those that it imports, and they, and so on."""
    seen, todo = {path}, [path]
    while todo:
        new = _known_by(_text(todo.pop()))[1] - seen
        seen |= new
        todo += new
    return hashlib.sha256(b"".join(_known_by(_text(file))[0] for file in sorted(seen))).digest()


def _stamped(made: F, function: Callable[..., Any]) -> F:
    """A compiled function whose cache is fresh only while all that is built into it is."""
    cached: Any = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if cached is not None:
        cached._source_stamp = _stands_on(Path(function.__code__.co_filename))
    return made


def _inner(function: F, **options: Any) -> F:
    inside: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **options}
    made = numba.njit(cache=True, fastmath=FAST, error_model="numpy", **inside)(function)
    if isinstance(made, CPUDispatcher):  # and no plain function, as under NUMBA_DISABLE_JIT
        made.__class__ = Inner
    return _stamped(cast(F, made), function)


def kernel(function: F) -> F:
    """A scalar or array kernel that other kernels call; dividing by zero gives infinity."""
    return _inner(function)


def free_kernel(function: F) -> F:
    """A kernel for Python to call, which lets go of Python's lock, so that threads run it side by side."""
    made = numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")(function)
    return _stamped(cast(F, made), function)


def leaf(function: F) -> F:
    """A kernel that neither makes nor slices arrays, so that no references to its arrays are counted.

    Counting costs two atomic operations for each array and call: more than a short loop over a row of pixels.
    """
    return _inner(function, _nrt=False)


def part(function: F) -> F:
    """A leaf that is built into its callers, so that handing it many arrays costs nothing."""
    return _inner(function, _nrt=False, forceinline=True)

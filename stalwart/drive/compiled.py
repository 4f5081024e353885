"""Plain Python functions made into machine code by Numba, with their types kept for the type checker.

Kernels are cached beside their source file. Numba looks at the time of the file that holds a function and not at
those of what it calls: after an edit to a called kernel, touch its callers' files too.
"""

from __future__ import annotations

from collections.abc import Callable
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


def _inner(function: F, **options: Any) -> F:
    inside: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **options}
    made = numba.njit(cache=True, fastmath=FAST, error_model="numpy", **inside)(function)
    if isinstance(made, CPUDispatcher):  # and no plain function, as under NUMBA_DISABLE_JIT
        made.__class__ = Inner
    return cast(F, made)


def kernel(function: F) -> F:
    """A scalar or array kernel that other kernels call; dividing by zero gives infinity."""
    return _inner(function)


def free_kernel(function: F) -> F:
    """A kernel for Python to call, which lets go of Python's lock, so that threads run it side by side."""
    return cast(F, numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")(function))


def leaf(function: F) -> F:
    """A kernel that neither makes nor slices arrays, so that no references to its arrays are counted.

    Counting costs two atomic operations for each array and call: more than a short loop over a row of pixels.
    """
    return _inner(function, _nrt=False)


def part(function: F) -> F:
    """A leaf that is built into its callers, so that handing it many arrays costs nothing."""
    return _inner(function, _nrt=False, forceinline=True)

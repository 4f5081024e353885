"""The driving world's functions on a graphics card: each thread of it takes one world, or one sensor's view.

A function is written once, in plain Python. For the processor `compiled` compiles it; here it is given a second form,
in which all that it calls is a device function of numba-cuda, and a launcher. Data are PyTorch's tensors, which kernels
see without copying. With `NUMBA_ENABLE_CUDASIM=1` Numba's simulator runs the same launchers in Python, on the processor
and very slowly, for tests.
"""

from __future__ import annotations

import dis
import functools
import math
import warnings
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from numba import config as numbas_settings
from numba import cuda as numbas_cuda
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from stalwart.core.errors import InputError

cuda: Any = numbas_cuda
"""numba-cuda where it is installed, as it takes the place of Numba's own."""
SIMULATED = bool(cast(Any, numbas_settings).ENABLE_CUDASIM)
DEVICE = "cpu" if SIMULATED else "cuda"
"""Where tensors for kernels lie."""
_BLOCK = 64
"""Threads of a block. Worlds differ, and so do the ways that their threads take: large blocks would wait longer."""


def expect_gpu() -> None:
    """
    Raises:
        InputError: neither a graphics card that Numba and PyTorch can use, nor the simulator.
    """
    if SIMULATED:
        return
    if not torch.cuda.is_available():
        raise InputError("device='cuda' needs a CUDA graphics card, and PyTorch sees none. Use device='cpu'.")
    if not cuda.is_available():
        raise InputError("device='cuda' needs numba-cuda: pip install 'stalwart[cuda]'. Numba cannot use the card.")


def upload(array: NDArray[Any]) -> torch.Tensor:
    """A copy of an array on the card."""
    return torch.from_numpy(np.array(array)).to(DEVICE)


def uploaded(bundle: Any) -> Any:
    """A named tuple of arrays with each of them on the card; what is no array stays."""
    return type(bundle)(*(upload(part) if isinstance(part, np.ndarray) else part for part in bundle))


def beside(worlds: int, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    """(worlds, *shape) not filled, of which the worlds' own numbers lie side by side in memory, not those of one world.

    Threads of neighbouring worlds that read the same quantity then read one stretch of memory.
    """
    return torch.empty((*shape, worlds), dtype=dtype, device=DEVICE).movedim(-1, 0)


def spread(array: NDArray[Any]) -> torch.Tensor:
    """A copy of an array (worlds, ...) on the card, laid out as `beside` does."""
    return upload(np.ascontiguousarray(np.moveaxis(array, 0, -1))).movedim(-1, 0)


def handed(value: Any) -> Any:
    """A kernel's argument: tensors as arrays over the same memory, in named tuples too; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.numpy() if SIMULATED else cuda.as_cuda_array(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(handed(part) for part in value))
    return value


class Each:
    """`function(i, *arguments)` for each i below a count, a thread of the card for each.

    The function and all that it calls must not make arrays nor raise. It is compiled when first called.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function

    def __call__(self, count: int, *arguments: Any) -> None:
        """Arguments: tensors, named tuples of them, and numbers of NumPy. Work is put into PyTorch's current stream."""
        if count:
            block = min(count, _BLOCK)
            kernel = self._kernel
            if SIMULATED:
                with warnings.catch_warnings():  # hashes and divisions run over, as they may
                    warnings.simplefilter("ignore", RuntimeWarning)
                    kernel[-(-count // block), block](count, tuple(handed(a) for a in arguments))
            else:
                stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
                kernel[-(-count // block), block, stream](count, tuple(handed(a) for a in arguments))

    @functools.cached_property
    def _kernel(self) -> Any:
        return cuda.jit(launcher(self.function))


def launcher(function: Callable[..., None]) -> Callable[[int, tuple[Any, ...]], None]:
    """The kernel's own Python: `function` for the thread's number, where that is below the count."""
    inside = form_of(function)

    def launched(count: int, arguments: tuple[Any, ...]) -> None:
        i = cuda.grid(1)
        if i < count:
            inside(i, *arguments)

    return launched


@functools.cache
def form_of(function: Callable[..., Any]) -> Any:
    """A function's form for the card: the same code, with the forms for the card of all compiled functions it calls."""
    plain: Any = getattr(function, "py_func", function)
    known, names = plain.__globals__, set(plain.__code__.co_names)
    inner: dict[str, Any] = {"__builtins__": known["__builtins__"], "__name__": plain.__module__}
    for step in dis.get_instructions(plain):
        if step.opname == "LOAD_GLOBAL" and step.argval in known:
            inner[step.argval] = _value(known[step.argval], names)
    made = FunctionType(plain.__code__, inner, plain.__name__, plain.__defaults__)
    made.__module__ = plain.__module__
    return made if SIMULATED else cuda.jit(device=True)(made)


def _value(value: Any, names: set[str]) -> Any:
    if isinstance(value, Dispatcher):
        return form_of(value)
    if isinstance(value, ModuleType) and value.__name__.startswith("stalwart."):
        return _module(value, {name: _value(getattr(value, name), names) for name in names if hasattr(value, name)})
    if value is np and not SIMULATED:
        there = {name: getattr(np, name) for name in names if hasattr(np, name)}
        return _module(np, {**there, **{name: _ROUNDED[name]() for name in names & _ROUNDED.keys()}})
    return value


def _module(value: ModuleType, holds: dict[str, Any]) -> ModuleType:
    made = ModuleType(value.__name__)
    made.__dict__.update(holds)
    return made


def _floor(x: Any) -> Any:
    return np.float64(math.floor(x))


def _ceil(x: Any) -> Any:
    return np.float64(math.ceil(x))


_ROUNDED: dict[str, Callable[[], Any]] = {
    "floor": functools.cache(lambda: cuda.jit(device=True)(_floor)),
    "ceil": functools.cache(lambda: cuda.jit(device=True)(_ceil)),
    "sqrt": lambda: math.sqrt,
}
"""What of NumPy numba-cuda does not know, or only for whole arrays."""

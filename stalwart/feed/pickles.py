"""Arrays out of the pickle files of old data sets, without unpickling them.

Python's pickle is a small machine whose programs may call anything. Here the program's notation is read
(`pickletools.genops` only parses) and the few instructions that lists, dicts, text, numbers and NumPy arrays are
written with are carried out; whatever else a file asks for is refused, and none of it is ever imported.
"""

from __future__ import annotations

import math
import os
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from stalwart.core.errors import DataError

MAX_BYTES = 256 * 1024**2
"""The largest file that is read."""

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"})
_TEXTS = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"})
_BYTES = frozenset({"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"})
_OLD_STRINGS = frozenset({"BINSTRING", "SHORT_BINSTRING", "STRING"})  # Python 2's str, which genops reads as latin-1
_MARK = object()


class _RefusedError(Exception):
    """What the file asks for is not among what is carried out."""


def read_pickle(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """A dict with text keys of lists, dicts, texts, bytes, numbers and NumPy arrays of numbers.

    Text that Python 2 wrote (str) comes as bytes.

    Raises:
        DataError: no such file, too large, damaged, or it asks for anything beyond these.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{name}: expected a file. Got {(error.strerror or str(error)).lower()}.") from None
    if len(data) > max_bytes:
        raise DataError(f"{name}: expected at most {max_bytes:,} bytes. Got more.")
    try:
        found = _finish(_run(data))
    except _RefusedError as error:
        raise DataError(f"{name}: expected NumPy arrays and plain values alone. Got {error}.") from None
    except Exception as error:  # a damaged program fails in as many ways as it can be damaged
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{name}: expected a whole pickle file. Got a damaged one ({reason}).") from None
    if not isinstance(found, dict):
        raise DataError(f"{name}: expected a dict. Got {type(found).__name__}.")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}


class _Array:
    """An array on its way: NumPy pickles an empty one and its state after it."""

    def __init__(self) -> None:
        self.value: np.ndarray[Any, np.dtype[Any]] | None = None

    def fill(self, state: Any) -> None:
        _version, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Type) or not isinstance(raw, bytes):
            raise _RefusedError("an array of objects")
        kind = dtype.dtype()
        if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * kind.itemsize != len(raw):
            raise _RefusedError(f"an array of shape {shape} in {len(raw):,} bytes")
        flat = np.frombuffer(bytearray(raw), kind)
        self.value = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


class _Type:
    """A NumPy dtype on its way: its code, and its byte order in the state after it."""

    def __init__(self, code: str) -> None:
        if code.lstrip("|<>=")[:1] not in tuple("biuf") or not code.lstrip("|<>=")[1:].isdigit():
            raise _RefusedError(f"an array of dtype {code[:20]!r}")
        self.code = code

    def fill(self, state: Any) -> None:
        order = state[1]
        order = order.decode("latin-1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"a dtype of byte order {order!r}")
        self.code = order + self.code.lstrip("|<>=")

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.code)


def _new_array(*_shape_and_code: Any) -> _Array:
    return _Array()


def _new_type(code: Any, *_align_and_copy: Any) -> _Type:
    return _Type(code.decode("latin-1") if isinstance(code, bytes) else str(code))


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"a call of encode with {encoding!r}")
    return text.encode("latin-1")


def _never(*_arguments: Any) -> Any:
    raise _RefusedError("a call of ndarray")


_CALLS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray _reconstruct": _new_array,
    "numpy._core.multiarray _reconstruct": _new_array,
    "numpy ndarray": _never,  # named as an argument of _reconstruct
    "numpy dtype": _new_type,
    "_codecs encode": _encode,
}
"""All that a file may call, as stand-ins of our own."""


def _run(data: bytes) -> Any:
    """Carry out the program; the object that it ends with."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
        items = stack[place + 1 :]
        del stack[place:]
        return items

    argument: Any
    for opcode, argument, _position in pickletools.genops(data):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            break
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _INTEGERS or name in _TEXTS or name in _BYTES or name == "BINFLOAT":
            stack.append(argument)
        elif name in _OLD_STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument)])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
        elif name in ("LIST", "TUPLE"):
            items = since_mark()
            stack.append(items if name == "LIST" else tuple(items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "DICT":
            items = since_mark()
            stack.append({})
            _set(stack[-1], items)
        elif name == "APPEND":
            item = stack.pop()
            _expect(stack[-1], list).append(item)
        elif name == "APPENDS":
            items = since_mark()
            _expect(stack[-1], list).extend(items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set(stack[-1], [key, value])
        elif name == "SETITEMS":
            items = since_mark()
            _set(stack[-1], items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                argument = f"{module} {attribute}"
            if argument not in _CALLS:
                raise _RefusedError(f"a request for {str(argument).replace(' ', '.')[:80]!r}")
            stack.append(_CALLS[argument])
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(arguments, tuple) or not any(function is known for known in _CALLS.values()):
                raise _RefusedError("a call of what is no function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], _Array | _Type):
                raise _RefusedError(f"a state for {type(stack[-1]).__name__}")
            stack[-1].fill(state)
        else:
            raise _RefusedError(f"the instruction {name}")
    return stack.pop()


def _expect(item: Any, kind: type) -> Any:
    if type(item) is not kind:
        raise _RefusedError(f"{type(item).__name__} in place of {kind.__name__}")
    return item


def _set(target: Any, items: list[Any]) -> None:
    _expect(target, dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int):
            raise _RefusedError(f"a dict with {type(key).__name__} keys")
        target[key] = value


def _finish(found: Any) -> Any:
    """Put the arrays themselves in their stand-ins' place, where a dict's values are ones."""
    if isinstance(found, dict):
        return {key: value.value if isinstance(value, _Array) else value for key, value in found.items()}
    return found

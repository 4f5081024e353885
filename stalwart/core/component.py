"""`@component` makes a class a frozen dataclass that checks its own fields and is spelled as its constructor.

Types come from the annotations, ranges from `Annotated[int, at_least(1)]`. A field whose type is a
contract (`Attack`, `Threat`, ...) takes the object itself or its spelling.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, dataclass_transform

from stalwart.core.errors import SpellingError, nearest
from stalwart.core.spelling import spell

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The values that a numeric field may take; `open_low` and `open_high` leave out the end itself."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{'>' if self.open_low else '>='} {spell(self.low)}"
        high = "" if self.high == math.inf else f"{'<' if self.open_high else '<='} {spell(self.high)}"
        return " and ".join(part for part in (low, high) if part) or "any number"


def at_least(low: float) -> Range:
    return Range(low=low)


def above(low: float) -> Range:
    return Range(low=low, open_low=True)


def between(low: float, high: float) -> Range:
    return Range(low=low, high=high)


@dataclass_transform(frozen_default=True)
def component(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose constructor is its whole, checked configuration.

    Raises (at construction):
        SpellingError: a field of the wrong type or out of its range; it names the field and what came.
    """
    own_check: Callable[[Any], None] | None = cls.__dict__.get("__post_init__")

    def check(self: Any) -> None:
        hints = field_types(cls)  # type: ignore[arg-type]
        for field in dataclasses.fields(self):
            if field.init:
                value = _fit(getattr(self, field.name), hints[field.name], f"{cls.__name__}({field.name}=...)")
                object.__setattr__(self, field.name, value)
        if own_check is not None:
            own_check(self)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    cls.__repr__ = spell  # type: ignore[method-assign]
    return dataclass(frozen=True, repr=False)(cls)


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The resolved annotations of a component's fields, `Annotated` kept."""
    return typing.get_type_hints(cls, include_extras=True)


def describe_type(hint: Any) -> str:
    """A field's type in words: ``int, >= 1``."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        inner, *extras = typing.get_args(hint)
        ranges = [str(extra) for extra in extras if isinstance(extra, Range)]
        return ", ".join([describe_type(inner), *ranges])
    if origin is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(arg) for arg in typing.get_args(hint))
    if origin is tuple:
        inner = ", ".join("..." if arg is Ellipsis else describe_type(arg) for arg in typing.get_args(hint))
        return f"tuple of {inner.removesuffix(', ...')}" if inner.endswith("...") else f"({inner})"
    if hint is type(None):
        return "None"
    return getattr(hint, "__name__", str(hint))


def _fit(value: Any, hint: Any, who: str) -> Any:
    """`value` as the type that `hint` says; ints become floats, spellings become components."""
    fitted, trouble = _try_fit(value, hint, who)
    if trouble:
        raise SpellingError(f"{who} must be {describe_type(hint)}. Got {value!r}.")
    return fitted


def _try_fit(value: Any, hint: Any, who: str) -> tuple[Any, bool]:
    from stalwart.core import catalog  # the catalog builds components, so it is imported when one is needed

    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        inner, *extras = typing.get_args(hint)
        fitted, trouble = _try_fit(value, inner, who)
        numeric = isinstance(fitted, int | float) and not isinstance(fitted, bool)
        outside = numeric and any(isinstance(extra, Range) and fitted not in extra for extra in extras)
        return fitted, trouble or outside
    if origin is Literal:
        choices = typing.get_args(hint)
        if isinstance(value, str) and value not in choices:
            hint_text = nearest(value, [c for c in choices if isinstance(c, str)])
            raise SpellingError(f"{who} must be {describe_type(hint)}. Got {value!r}. {hint_text}")
        return value, value not in choices
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(hint):
            fitted, trouble = _try_fit(value, option, who)
            if not trouble:
                return fitted, False
        return value, True
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return value, True
        inner = typing.get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_fit(item, inner[0], who) for item in value), False
        if len(inner) != len(value):
            return value, True
        return tuple(_fit(item, kind, who) for item, kind in zip(value, inner, strict=True)), False
    room = catalog.room_of(hint)
    if room is not None:
        if isinstance(value, str):
            value = catalog.make(value, room)
        return value, not isinstance(value, hint)
    if hint is float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        return (float(value) if good else value), not good
    if hint is int:
        return value, not isinstance(value, int) or isinstance(value, bool)
    if hint is Any:
        return value, False
    return value, not isinstance(value, hint)

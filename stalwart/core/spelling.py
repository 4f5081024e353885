"""The one spelling: a component is written as its constructor, ``pgd(steps=50)``.

`parse` reads the text into a tree of `Call` and plain values. Nothing is ever evaluated: numbers may be
combined by ``+ - * / **`` within bounds, everything else is a literal. `spell` is the way back.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from stalwart.core.errors import SpellingError

LONGEST = 10_000
"""Characters in a spelling; a longer text is a mistake or an attack on the parser."""


@dataclass(frozen=True)
class Call:
    """A constructor as written: its name, positional arguments and keywords."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def parse(text: str) -> Any:
    """Read one spelling: a `Call`, or a literal (number, string, bool, None, tuple, list).

    A bare name is a call without arguments: ``pgd`` reads as ``pgd()``.

    Raises:
        SpellingError: when the text is not such an expression.
    """
    if not isinstance(text, str):
        raise SpellingError(f"a spelling must be text such as 'pgd(steps=20)'. Got {type(text).__name__}.")
    if len(text) > LONGEST:
        raise SpellingError(f"a spelling has at most {LONGEST:,} characters. Got {len(text):,}.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _read(tree.body, text)
    except SyntaxError as error:
        where = f" at column {error.offset}" if error.offset else ""
        raise SpellingError(f"cannot read {text!r}{where}: expected a constructor such as 'pgd(steps=20)'.") from None
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, SpellingError):
            raise
        raise SpellingError(f"cannot read {_short(text)}: nested too deeply or not text.") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _read(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            keywords: dict[str, Any] = {}
            for keyword in node.keywords:
                if keyword.arg is None:
                    raise SpellingError(f"cannot read {_short(text)}: '**' is not allowed in a spelling.")
                if keyword.arg in keywords:
                    raise SpellingError(f"{name}: field {keyword.arg!r} is given twice.")
                keywords[keyword.arg] = _read(keyword.value, text)
            return Call(name, tuple(_read(arg, text) for arg in node.args), keywords)
        case ast.Name(id=name):
            return Call(name)
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            if isinstance(value, float) and not math.isfinite(value):
                raise SpellingError(f"cannot read {_short(text)}: the number is not finite.")
            return value
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_read(item, text) for item in items)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _number(_read(operand, text), text)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=operator, right=right):
            return _arithmetic(_number(_read(left, text), text), operator, _number(_read(right, text), text), text)
    raise SpellingError(
        f"cannot read {_short(text)}: {ast.unparse(node)!r} is neither a constructor, a literal nor plain arithmetic."
    )


def _number(value: Any, text: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpellingError(f"cannot read {_short(text)}: arithmetic is for numbers. Got {value!r}.")
    return value


def _arithmetic(left: float, operator: ast.operator, right: float, text: str) -> float | int:
    try:
        match operator:
            case ast.Add():
                result = left + right
            case ast.Sub():
                result = left - right
            case ast.Mult():
                result = left * right
            case ast.Div():
                result = left / right
            case ast.Pow() if abs(right) <= 64 and abs(left) <= 1e6:
                result = left**right
            case _:
                raise SpellingError(f"cannot read {_short(text)}: only + - * / and small powers are allowed.")
    except (ZeroDivisionError, OverflowError):
        raise SpellingError(f"cannot read {_short(text)}: the arithmetic has no finite result.") from None
    if isinstance(result, complex) or not math.isfinite(result) or abs(result) > 1e300:
        raise SpellingError(f"cannot read {_short(text)}: the arithmetic has no finite result.")
    return result


def spell(value: Any) -> str:
    """The spelling of a component or a plain value; `parse` and the catalog read it back to an equal one.

    Required fields stand first without their names, the others only where they differ from the default.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = []
        for field in dataclasses.fields(value):
            if not field.init:
                continue
            current = getattr(value, field.name)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                parts.append(spell(current))
            elif not _same(current, _default(field)):
                parts.append(f"{field.name}={spell(current)}")
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, float):
        return _spell_float(value)
    if isinstance(value, tuple | list):
        inner = ", ".join(spell(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _same(left: Any, right: Any) -> bool:
    if isinstance(right, str) and dataclasses.is_dataclass(left):  # a default written as a spelling
        return spell(left) == right
    return type(left) is type(right) and bool(left == right)


def _spell_float(value: float) -> str:
    if math.isinf(value) or math.isnan(value):
        return repr(value)
    plain = repr(value)
    if len(plain) > 8 and not value.is_integer():  # 0.03137254901960784 is better read as 8/255
        for denominator in (3, 7, 9, 11, 13, 255):
            numerator = Fraction(value).limit_denominator(1_000_000) * denominator
            if numerator.denominator == 1 and numerator.numerator / denominator == value:
                return f"{numerator.numerator}/{denominator}"
        halves = value * 255
        if halves == round(halves, 2) and round(halves, 2) / 255 == value:
            return f"{halves:g}/255"
    return plain

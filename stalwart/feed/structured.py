"""JSON, XML, YAML and lists that strangers wrote: read with bounds, refused by the file's name and the field's."""

from __future__ import annotations

import json
import math
import os
import reprlib
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

from stalwart.core.errors import DataError

MAX_JSON_BYTES = 1024**3
"""The largest JSON file that is read: COCO's own has 450 MB. In memory it takes some ten times as much."""
MAX_TEXT_BYTES = 64 * 1024**2
"""The largest list, table or XML file that is read."""
MAX_YAML_BYTES = 1024**2
MAX_DEPTH = 32
"""Elements within elements of an XML file."""
LONGEST_NAME = 200
"""Characters of a class's name."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 4
_REPR.maxlevel = 2


def shown(value: Any) -> str:
    """A stranger's value in a few characters of one line."""
    return _REPR.repr(value)


# ---------------------------------------------------------------- whole files


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """All of an ordinary file of at most `most` bytes.

    Raises:
        DataError: it is not there, no ordinary file, or larger.
    """
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            raise DataError(f"{path}: expected a file. Got what is no ordinary file.")
        if about.st_size > most:
            raise DataError(f"{path}: expected at most {most:,} bytes. Got {about.st_size:,}.")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: expected a file. Got {reason[:1].lower()}{reason[1:]}.") from None


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file, in UTF-8, without what is around them; empty ones are kept.

    Raises:
        DataError: not there, too large, or another encoding.
    """
    try:
        text = read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8. Got byte {error.object[error.start]:#04x} at "
                        f"{error.start:,}.") from None  # fmt: skip
    return [line.strip() for line in text.split("\n")]


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: not there, larger than `MAX_JSON_BYTES`, nested too deep, or no JSON.
    """
    try:
        return json.loads(read_bytes(path, MAX_JSON_BYTES))
    except RecursionError:
        raise DataError(f"{path}: expected JSON. Got lists or objects nested too deep.") from None
    except DataError:
        raise
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected JSON in UTF-8. Got another encoding.") from None
    except ValueError as error:
        raise DataError(f"{path}: expected JSON. Got a mistake: {str(error).splitlines()[0]}.") from None


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """What a YAML file holds, every value as text: `no` and `1e3` are names here, no booleans and numbers.

    Raises:
        DataError: not there, larger than `MAX_YAML_BYTES`, nested too deep, or no YAML.
    """
    import yaml

    data = read_bytes(path, MAX_YAML_BYTES)
    try:
        return yaml.load(data, Loader=yaml.BaseLoader)  # makes text, lists and dicts only, and knows no merge keys
    except RecursionError:
        raise DataError(f"{path}: expected YAML. Got lists or mappings nested too deep.") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "no text in UTF-8"
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise DataError(f"{path}: expected YAML. Got a mistake: {place}{reason}.") from None


class Node:
    """An element of an XML file."""

    __slots__ = ("attributes", "children", "name", "parts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Node] = []
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.parts).strip()

    def all(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name]

    def first(self, name: str) -> Node | None:
        return next((child for child in self.children if child.name == name), None)


def read_xml(path: str | os.PathLike[str]) -> Node:
    """The root element of an XML file.

    Document types are refused, and with them every entity of the file's own: a few lines of those can claim gigabytes
    (the "billion laughs"), or read other files.

    Raises:
        DataError: not there, larger than `MAX_TEXT_BYTES`, no XML, nested too deep, with a document type.
    """
    data = read_bytes(path, MAX_TEXT_BYTES)
    root = Node("", {})
    stack = [root]

    def begin(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise DataError(f"{path}: expected XML of at most {MAX_DEPTH} levels. Got more.")
        node = Node(name, attributes)
        stack[-1].children.append(node)
        stack.append(node)

    def end(_: str) -> None:
        stack.pop()

    def text(part: str) -> None:
        stack[-1].parts.append(part)

    def refuse(*_: Any) -> None:
        raise DataError(f"{path}: expected XML without a document type. Got one, which could declare entities.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise DataError(f"{path}: expected XML. Got a mistake: {error}.") from None
    except (ValueError, LookupError, TypeError) as error:  # an encoding that Python does not know, or cannot use here
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected XML. Got an encoding that is not known ({shown(str(error))}).") from None
    return root.children[0]


# ---------------------------------------------------------------- fields


def field(record: Any, key: str, kind: type | tuple[type, ...], what: str, where: str) -> Any:
    """`record[key]`, which must be a `kind` (`what` in words); booleans are no numbers.

    Raises:
        DataError: the record is no dict, or the key is missing or of another type.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object with {key!r}. Got {shown(record)}.")
    if key not in record:
        raise DataError(f"{where}: expected {key!r}. Got none.")
    value = record[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{where}: expected {key!r} as {what}. Got {shown(value)}.")
    return value


def numbers(value: Any, count: int | None, key: str, where: str) -> list[float]:
    """A list of finite numbers, so many of them.

    Raises:
        DataError: something else came.
    """
    what = "finite numbers" if count is None else f"{count} finite numbers"
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise DataError(f"{where}: expected {key!r} as a list of {what}. Got {shown(value)}.")
    for item in value:
        if type(item) not in (int, float) or not abs(item) < 1e15:  # NaN is not below anything
            raise DataError(f"{where}: expected {key!r} as {what}. Got {shown(item)}.")
    return [float(item) for item in value]


def number(text: str, key: str, where: str) -> float:
    """A finite number that was written as text.

    Raises:
        DataError: something else came.
    """
    try:
        value = float(text) if len(text) < 64 else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) < 1e15:
        raise DataError(f"{where}: expected {key!r} as a finite number. Got {shown(text)}.")
    return value


def class_names(names: Iterable[Any], where: str) -> tuple[str, ...]:
    """Names of classes, each of them once, that can be printed.

    Raises:
        DataError: none, a name twice, or what is no name.
    """
    found = list(names)
    for name in found:
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise DataError(f"{where}: expected class names of 1 to {LONGEST_NAME} printable characters. "
                            f"Got {shown(name)}.")  # fmt: skip
    if not found:
        raise DataError(f"{where}: expected at least one class. Got none.")
    if len(set(found)) < len(found):
        raise DataError(f"{where}: expected each class once. Got {shown(_twice(found))} twice.")
    return tuple(found)


def _twice(names: Sequence[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""

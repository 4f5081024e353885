"""The folder is the registry: `names("attacks")` lists it, `load("attacks.pgd")` imports that one file.

A room is a folder of the package whose every file holds one public component of the file's name.
Files that begin with an underscore are no components.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import typing
from functools import cache
from typing import Any

from stalwart.core import contracts
from stalwart.core.component import describe_type, field_types
from stalwart.core.errors import SpellingError, nearest
from stalwart.core.spelling import Call, parse, spell

ROOMS: dict[str, Any] = {
    "tasks": contracts.Task,
    "data": contracts.Source,
    "augments": contracts.Augment,
    "models": contracts.Architecture,
    "threats": contracts.Threat | contracts.Rendered,
    "attacks": contracts.Attack,
    "objectives": contracts.Objective,
    "shields": contracts.Shield,
    "detectors": contracts.Detector,
    "optimizers": contracts.OptimizerMaker,
    "schedules": contracts.Schedule,
    "roads": contracts.Roads,
    "scenarios": contracts.Scenario,
    "tampers": contracts.Tamper,
    "worlds": contracts.Worlds,
    "rl": contracts.Learner,
}
"""Each room and the contract that its components keep."""

OPEN_ROOMS = {"models": ("torchvision", "torchvision_dense", "timm")}
"""Rooms that also answer to other names: ``resnet18()`` is read as ``torchvision('resnet18')``."""


def rooms() -> list[str]:
    return list(ROOMS)


def room_of(contract: Any) -> str | None:
    """The room whose components keep `contract`, or None."""
    return next((room for room, kind in ROOMS.items() if contract in (kind, *typing.get_args(kind))), None)


@cache
def names(room: str) -> tuple[str, ...]:
    """The names of a room's components, in order.

    Raises:
        SpellingError: no such room.
    """
    if room not in ROOMS:
        raise SpellingError(f"there is no room {room!r} in the catalog. {nearest(room, ROOMS)}")
    package = importlib.import_module(f"stalwart.{room}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(path: str) -> type:
    """The component class at ``"attacks.pgd"``.

    Raises:
        SpellingError: no such room or component; it names the nearest.
    """
    room, _, name = path.partition(".")
    if name not in names(room):
        raise SpellingError(f"there is no {name!r} in {room}. {nearest(name, names(room))}")
    found = getattr(importlib.import_module(f"stalwart.{room}.{name}"), name, None)
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise SpellingError(f"stalwart/{room}/{name}.py must hold one component named {name!r}.")
    return found


def make(spelled: Any, room: str) -> Any:
    """The component that `spelled` says; an object that keeps the room's contract is given back as it is.

    Raises:
        SpellingError: the text cannot be read, or names what does not exist.
    """
    names(room)  # an unknown room is refused here, with the nearest
    contract = ROOMS[room]
    if not isinstance(spelled, str | Call):
        # Contracts that are a bare call look alike, so one of our own components must come from this room.
        home = type(spelled).__module__.split(".")
        astray = home[0] == "stalwart" and len(home) > 2 and home[1] in ROOMS and home[1] != room
        if isinstance(spelled, contract) and not isinstance(spelled, type) and not astray:
            return spelled
        raise SpellingError(
            f"{room} takes a spelling such as {_example(room)!r} or an object that keeps the contract "
            f"{describe_type(contract)}. Got {spelled!r}."
        )
    tree = parse(spelled) if isinstance(spelled, str) else spelled
    if not isinstance(tree, Call):
        raise SpellingError(f"{room}: expected a constructor such as {_example(room)!r}. Got {spelled!r}.")
    return _build(tree, room)


def make_all(spelled: Any, room: str) -> tuple[Any, ...]:
    """Several components: a list of spellings or objects, or one text such as ``"(crop(4), flip())"``."""
    if isinstance(spelled, str):
        tree = parse(spelled)
        items = tree if isinstance(tree, tuple) else (tree,)
        return tuple(make(item, room) for item in items)
    return tuple(make(item, room) for item in spelled)


def _example(room: str) -> str:
    examples = {
        "threats": "linf(8/255)",
        "attacks": "pgd(steps=20)",
        "data": "folder('pets/')",
        "roads": "town(seed=3)",
        "worlds": "inventory()",
        "rl": "ppo()",
    }
    return examples.get(room) or f"{names(room)[0]}()"


def _build(call: Call, room: str) -> Any:
    if call.name not in names(room) and room in OPEN_ROOMS:
        answering = list(names(room))
        for keeper in [name for name in OPEN_ROOMS[room] if name in names(room)]:
            open_to: Any = load(f"{room}.{keeper}")
            if open_to.knows(call.name):
                return _build(Call(keeper, (call.name, *call.args), call.kwargs), room)
            answering += open_to.known()
        raise SpellingError(f"there is no {call.name!r} in {room}. {nearest(call.name, answering)}")
    cls = load(f"{room}.{call.name}")
    fields = [field for field in dataclasses.fields(cls) if field.init]
    if len(call.args) > len(fields):
        raise SpellingError(
            f"{call.name} takes at most {len(fields)} values ({', '.join(f.name for f in fields) or 'none'}). "
            f"Got {len(call.args)}."
        )
    given = {field.name: value for field, value in zip(fields, call.args, strict=False)}
    known = {field.name for field in fields}
    for key, value in call.kwargs.items():
        if key not in known:
            raise SpellingError(f"{call.name} has no field {key!r}. {nearest(key, known)}")
        if key in given:
            raise SpellingError(f"{call.name}: field {key!r} is given twice.")
        given[key] = value
    hints = field_types(cls)
    for field in fields:
        if field.name in given:
            given[field.name] = _resolve(given[field.name], hints[field.name], f"{call.name}({field.name}=...)")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SpellingError(
                f"{call.name} needs {field.name!r} ({describe_type(hints[field.name])}): "
                f"write {call.name}({field.name}=...)."
            )
    return cls(**given)


def _resolve(value: Any, hint: Any, who: str) -> Any:
    """Turn the calls inside `value` into components of the room that the field's type names."""
    if isinstance(value, tuple):
        return tuple(_resolve(item, hint, who) for item in value)
    if not isinstance(value, Call):
        return value
    candidates = _rooms_in(hint)
    if not candidates:
        raise SpellingError(f"{who} must be {describe_type(hint)}. Got {value.name!r}; text needs quotes.")
    return _build(value, candidates[0])


def _rooms_in(hint: Any) -> list[str]:
    room = room_of(hint)
    if room is not None:
        return [room]
    return [found for arg in getattr(hint, "__args__", ()) for found in _rooms_in(arg)]


@dataclasses.dataclass(frozen=True)
class FieldNote:
    """One field of a component, as `stalwart show` prints it."""

    name: str
    type: str
    default: str | None
    doc: str


def describe(path: str) -> tuple[str, tuple[FieldNote, ...]]:
    """The docstring of a component and its fields with their types, defaults and notes."""
    cls = load(path)
    notes = _field_docs(cls)
    hints = field_types(cls)
    fields = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default: str | None = None
        if field.default is not dataclasses.MISSING:
            spelled = isinstance(field.default, str) and _rooms_in(hints[field.name])
            default = str(field.default) if spelled else spell(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = spell(field.default_factory())
        fields.append(FieldNote(field.name, describe_type(hints[field.name]), default, notes.get(field.name, "")))
    return inspect.getdoc(cls) or "", tuple(fields)


def _field_docs(cls: type) -> dict[str, str]:
    """The text literal beneath each field."""
    module = ast.parse(inspect.getsource(inspect.getmodule(cls)))  # type: ignore[arg-type]
    body = next((node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__), [])
    docs: dict[str, str] = {}
    for pair in itertools.pairwise(body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(note))):
                docs[name] = inspect.cleandoc(note)
    return docs

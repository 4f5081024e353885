"""The rooms of the package and what stands in them, read from the files' text.

`stalwart list` answers at once this way: importing the components would import PyTorch, which takes seconds.
A room is a folder of the package in which a file NAME.py holds `@component class NAME`.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import stalwart

# The order in which a user meets them.
_ORDER = ("data", "models", "tasks", "objectives", "optimizers", "schedules", "augments", "attacks", "threats")


@cache
def rooms() -> dict[str, dict[str, str]]:
    """For each room the names of its components, with the first line of their docstrings."""
    house = Path(stalwart.__file__).parent
    found = {folder.name: _components(folder) for folder in house.iterdir() if folder.is_dir()}
    order = {room: place for place, room in enumerate(_ORDER)}
    return {room: found[room] for room in sorted(found, key=lambda r: (order.get(r, len(order)), r)) if found[room]}


def _components(folder: Path) -> dict[str, str]:
    summaries = {}
    for file in sorted(folder.glob("[!_]*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == file.stem and _is_component(node):
                summaries[node.name] = _summary(ast.get_docstring(node) or "")
    return summaries


def _is_component(node: ast.ClassDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "component" for mark in node.decorator_list)


def _summary(doc: str) -> str:
    """The first paragraph up to its first full stop, on one line."""
    paragraph = " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
    return re.split(r"(?<=\.)(?<!al\.)(?<!\b[A-Z]\.)\s", paragraph, maxsplit=1)[0]  # "et al." and "J." end no sentence


@cache
def settings(name: str) -> dict[str, tuple[str, str]]:
    """For each field of the runners' settings class `name`: its default as written, and the note beneath it."""
    house = Path(stalwart.__file__).parent
    for file in sorted((house / "run").glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return _fields(node)
    return {}


def _fields(node: ast.ClassDef) -> dict[str, tuple[str, str]]:
    fields: dict[str, tuple[str, str]] = {}
    last = ""
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id=last), value=default):
                fields[last] = (ast.unparse(default) if default else "", "")
            case ast.Expr(value=ast.Constant(value=str(note))) if last:
                fields[last] = (fields[last][0], " ".join(inspect.cleandoc(note).split()))
                last = ""
    return fields

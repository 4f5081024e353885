"""The folder is the registry, and each component in it keeps the house's rules."""

from __future__ import annotations

import dataclasses

import pytest

from stalwart.core import catalog
from stalwart.core.errors import SpellingError

ALL = [f"{room}.{name}" for room in catalog.rooms() for name in catalog.names(room)]


def test_every_room_has_its_first_components() -> None:
    for room, name in [
        ("attacks", "pgd"), ("threats", "linf"), ("data", "digits"), ("models", "fastnet"), ("tasks", "classification"),
        ("objectives", "clean"), ("augments", "crop"), ("optimizers", "sgd"), ("schedules", "cosine"),
        ("roads", "town"),
    ]:  # fmt: skip
        assert name in catalog.names(room)


@pytest.mark.parametrize("path", ALL)
def test_a_component_is_one_frozen_documented_dataclass(path: str) -> None:
    cls = catalog.load(path)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    doc, fields = catalog.describe(path)
    assert len(doc.split()) > 5
    for field in fields:
        assert field.doc, f"{path}: field {field.name} has no note beneath it"
    assert {f.name for f in dataclasses.fields(cls) if f.init} == {f.name for f in fields}


@pytest.mark.parametrize("path", ALL)
def test_a_component_that_needs_nothing_is_made_spelled_and_read_back(path: str) -> None:
    room, name = path.split(".")
    _, fields = catalog.describe(path)
    if any(field.default is None for field in fields):
        with pytest.raises(SpellingError, match="needs"):
            catalog.make(f"{name}()", room)
        return
    made = catalog.make(f"{name}()", room)
    assert isinstance(made, catalog.ROOMS[room])
    assert catalog.make(repr(made), room) == made
    assert hash(made) == hash(catalog.make(name, room))


def test_unknown_rooms_and_names_get_the_nearest() -> None:
    with pytest.raises(SpellingError, match="'attacks'"):
        catalog.names("attaks")
    with pytest.raises(SpellingError, match="'linf'"):
        catalog.load("threats.linff")

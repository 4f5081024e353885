"""The one spelling: read, written, read again; and never evaluated."""

from __future__ import annotations

import contextlib
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.component import between, component
from stalwart.core.errors import SpellingError
from stalwart.core.spelling import Call, parse, spell


def test_a_constructor_reads_as_a_call() -> None:
    assert parse("pgd(20, step=1/4, random_start=False)") == Call("pgd", (20,), {"step": 0.25, "random_start": False})
    assert parse("pgd") == Call("pgd")
    assert parse("(crop(4), flip())") == (Call("crop", (4,)), Call("flip"))
    assert parse("adversarial(attack=pgd(steps=7))") == Call(
        "adversarial", (), {"attack": Call("pgd", (), {"steps": 7})}
    )


@pytest.mark.parametrize(
    "text",
    [
        "pgd(", "x.y()", "__import__('os').system('true')", "lambda: 1", "[i for i in (1,)]", "pgd(**{})", "f'{1}'",
        "pgd(steps=1, steps=2)", "1 if 1 else 2", "linf(8/0)", "linf(9**9**9)", "linf('a' * 9)", "a(b)(c)", "", "  ",
        "{1: 2}", "b'x'", "2j", "pgd(steps:=3)", "(" * 500, "-" * 5000 + "1", "x" * 20_000, "\0", "1e999", "print;1",
    ],
)  # fmt: skip
def test_what_is_no_spelling_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpellingError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SpellingError):
        assert not callable(parse(text))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)


@given(values)
def test_plain_values_survive_the_round_trip(value: object) -> None:
    assert parse(spell(value)) == value


@given(st.floats(1e-6, 1e3))
def test_numbers_survive_the_round_trip_exactly(value: float) -> None:
    assert parse(spell(value)) == value


def test_common_fractions_are_spelled_as_people_write_them() -> None:
    assert [spell(x) for x in (8 / 255, 0.5, 1 / 3, 2.5 / 255, 0.1)] == ["8/255", "0.5", "1/3", "2.5/255", "0.1"]
    assert spell(1e9) == "1000000000.0"


@given(st.integers(1, 500), st.none() | st.floats(1e-3, 10), st.integers(1, 9), st.booleans())
def test_components_survive_the_round_trip(steps: int, step: float | None, restarts: int, random_start: bool) -> None:
    pgd = catalog.load("attacks.pgd")
    made = pgd(steps=steps, step=step, restarts=restarts, random_start=random_start)
    assert catalog.make(repr(made), "attacks") == made


def test_only_what_differs_from_the_default_is_spelled() -> None:
    assert repr(catalog.make("pgd()", "attacks")) == "pgd()"
    assert repr(catalog.make("pgd(steps=50)", "attacks")) == "pgd(steps=50)"
    assert repr(catalog.make("linf(epsilon=8/255)", "threats")) == "linf(8/255)"
    nested = "adversarial(attack=pgd(steps=3), threat=l2(0.5))"
    assert repr(catalog.make(nested, "objectives")) == nested


def test_a_nested_name_is_looked_up_in_the_room_that_its_field_asks_for() -> None:
    """`fgm` may be an attack and an objective; inside `attack=` it is the attack."""
    made = catalog.make("adversarial(attack=fgm())", "objectives")
    assert type(made.attack).__module__ == "stalwart.attacks.fgm"
    with pytest.raises(SpellingError, match="attacks"):
        catalog.make("adversarial(attack=linf(0.1))", "objectives")


@pytest.mark.parametrize(
    ("room", "text", "words"),
    [
        ("attacks", "pdg()", "Did you mean 'pgd'"),
        ("attacks", "pgd(stepz=3)", "'steps'"),
        ("attacks", "pgd(steps=0)", ">= 1"),
        ("attacks", "pgd(steps=1.5)", "int"),
        ("attacks", "pgd(steps=True)", "int"),
        ("attacks", "pgd('20')", "int"),
        ("attacks", "pgd(1, 2, 3, True, 5)", "at most 4"),
        ("attacks", "pgd(1, steps=2)", "twice"),
        ("attacks", "3", "constructor"),
        ("threats", "linf()", "epsilon"),
        ("threats", "linf(-1)", ">= 0"),
        ("threats", "linf(eight)", "quotes"),
        ("objectives", "adversarial(attack=linf(0.1))", "attacks"),
        ("attack", "pgd()", "attacks"),
        ("attacks", 3, "spelling"),
    ],
)
def test_a_mistake_says_what_was_meant(room: str, text: str, words: str) -> None:
    with pytest.raises(SpellingError, match=words) as caught:
        catalog.make(text, room)
    assert "\n" not in str(caught.value)


def test_an_object_of_another_room_is_refused() -> None:
    threat = catalog.make("linf(0.1)", "threats")
    with pytest.raises(SpellingError, match="attacks"):
        catalog.make(threat, "attacks")
    objective = catalog.make("adversarial()", "objectives")
    with pytest.raises(SpellingError, match="attacks"):
        catalog.make(objective, "attacks")


def test_a_users_own_component_checks_itself() -> None:
    @component
    class mine:
        """A user's own."""

        share: Annotated[float, between(0, 1)]
        names: tuple[str, ...] = ()

    assert repr(mine(1)) == "mine(1.0)"
    assert mine(0.5, names=["a"]).names == ("a",)  # type: ignore[arg-type]
    with pytest.raises(SpellingError, match=r"mine\(share=...\) must be float, >= 0 and <= 1. Got 2"):
        mine(2)

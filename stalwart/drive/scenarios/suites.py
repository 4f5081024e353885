"""Suites: scenarios with names and fixed seeds. `scenarios_of('critical')` spells them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stalwart.core import catalog
from stalwart.core.errors import InputError, nearest

_FAMILIES = ("motorway", "rural", "crossroads", "roundabout", "town")

SUITES: dict[str, tuple[str, ...]] = {
    "quick": ("free(roads='rural', worlds=4, seconds=20)", "free(roads='crossroads', worlds=4, seconds=20)"),
    "free": tuple(
        f"free(roads={roads!r}, density={density!r}, traffic={traffic!r}, worlds=8, maps=2)"
        for roads in _FAMILIES
        for density in ("light", "dense")
        for traffic in ("normal", "mixed", "aggressive")
    ),
    "critical": (
        "cut_in()", "lead_braking()", "occluded_pedestrian()", "red_light_runner()", "unprotected_left()", "merge()",
        "roundabout_entry()", "stopped_vehicle()", "wrong_way()", "cyclist_overtaking()",
    ),
    "eu_cut_in": ("eu_cut_in()",),
}  # fmt: skip
"""Scenarios of each suite, as spelled."""


def scenarios_of(suite: str | Sequence[str]) -> tuple[Any, ...]:
    """The scenarios of a suite by its name, of one spelling such as ``cut_in()``, or of several.

    Raises:
        InputError: no such suite or scenario; it names the nearest.
    """
    if isinstance(suite, str):
        if suite in SUITES:
            return tuple(catalog.make(spelled, "scenarios") for spelled in SUITES[suite])
        name = suite.partition("(")[0].strip()
        if name not in catalog.names("scenarios"):
            known = (*SUITES, *catalog.names("scenarios"))
            raise InputError(f"there is no suite or scenario {suite!r}. {nearest(name, known)}")
        return (catalog.make(suite, "scenarios"),)
    if not suite:
        raise InputError("suite: expected a name, or scenarios such as 'cut_in()'. Got none.")
    return tuple(catalog.make(one, "scenarios") for one in suite)

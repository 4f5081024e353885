"""An objective with its threat drawn in: a curriculum over ε."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from stalwart.core.contracts import Objective
from stalwart.core.errors import InputError
from stalwart.core.spelling import spell


def at_radius(objective: Objective, factor: float) -> Objective:
    """The same objective with its threat's ε times `factor`, and so the one inside a wrapper such as awp.

    Raises:
        InputError: it has no threat, or one whose ε is no field.
    """
    if factor == 1:
        return objective
    made: Any = objective
    names = {field.name for field in fields(made)} if is_dataclass(made) else set()
    if "objective" in names:
        return replace(made, objective=at_radius(made.objective, factor))  # type: ignore[no-any-return]
    threat: Any = made.threat if "threat" in names else None
    if not is_dataclass(threat) or "epsilon" not in {field.name for field in fields(threat)}:
        raise InputError(
            f"a course of the radius needs an objective with a threat that has a field epsilon. Got {spell(objective)}."
        )
    drawn: Any = threat
    drawn = replace(drawn, epsilon=drawn.epsilon * factor)
    return replace(made, threat=drawn)  # type: ignore[no-any-return]

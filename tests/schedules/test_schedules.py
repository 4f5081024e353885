"""Each schedule against its closed form, at its ends and at its corners."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.contracts import Schedule


@given(st.floats(0, 1))
def test_factors_stay_in_0_1(progress: float) -> None:
    for name in catalog.names("schedules"):
        schedule: Schedule = catalog.make(name, "schedules")
        assert 0 <= schedule(progress) <= 1, (name, progress)


POINTS = [
    ("constant()", {0.0: 1.0, 0.3: 1.0, 1.0: 1.0}),
    ("cosine(warmup=0)", {0.0: 1.0, 0.25: (1 + math.sqrt(0.5)) / 2, 0.5: 0.5, 1.0: 0.0}),
    ("cosine(warmup=0.2, floor=0.1)", {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.55, 1.0: 0.1}),
    ("triangle(peak=0.25, start=0.2)", {0.0: 0.2, 0.125: 0.6, 0.25: 1.0, 0.625: 0.5, 1.0: 0.0}),
    ("triangle(peak=0, floor=0.5)", {0.0: 1.0, 0.5: 0.75, 1.0: 0.5}),
    ("triangle(peak=1, start=0)", {0.0: 0.0, 0.5: 0.5, 1.0: 1.0}),
    ("step(milestones=(0.5, 0.75), factor=0.1)", {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.75: 0.01, 1.0: 0.01}),
]


@pytest.mark.parametrize(("spelled", "points"), POINTS)
def test_closed_forms(spelled: str, points: dict[float, float]) -> None:
    schedule: Schedule = catalog.make(spelled, "schedules")
    for progress, factor in points.items():
        assert schedule(progress) == pytest.approx(factor, abs=1e-9), progress

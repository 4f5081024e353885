"""Bounds on shares against SciPy, and against what they promise."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core.statistics import bootstrap, clopper_pearson, sign_test, student

stats = pytest.importorskip("scipy.stats")
beta = stats.beta


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(1e-6, 0.3))
def test_bounds_are_scipys_beta_quantiles(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    low, high = clopper_pearson(k, n, alpha)
    assert low == pytest.approx(beta.ppf(alpha, k, n - k + 1) if k else 0.0, rel=1e-8, abs=1e-14)
    assert high == pytest.approx(beta.ppf(1 - alpha, k + 1, n - k) if k < n else 1.0, rel=1e-8, abs=1e-14)


def test_all_of_n_has_the_closed_form() -> None:
    for n in (1, 10, 1000, 100_000):
        assert clopper_pearson(n, n, 0.001)[0] == pytest.approx(0.001 ** (1 / n), rel=1e-9)


def test_a_bound_fails_no_more_often_than_it_says() -> None:
    dice = random.Random(0)
    for share in (0.03, 0.5, 0.9):
        wrong = 0
        for _ in range(2000):
            count = sum(dice.random() < share for _ in range(40))
            wrong += clopper_pearson(count, 40, 0.05)[0] > share
        assert wrong <= 0.05 * 2000 + 3 * (2000 * 0.05 * 0.95) ** 0.5


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(3, 2, 0.05)


def test_the_bootstrap_of_a_mean_is_near_students_interval_and_groups_widen_it() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 200)
    _, low, high = student(values.tolist())
    assert bootstrap(values) == pytest.approx((low, high), abs=0.02)
    assert bootstrap(values) == bootstrap(values, range(200))
    copied = np.repeat(values[:20], 10)  # twenty values that each came ten times tell no more than twenty
    alone, together = bootstrap(copied), bootstrap(copied, [k // 10 for k in range(200)])
    assert together == pytest.approx(bootstrap(values[:20]), abs=1e-12)
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])
    assert bootstrap([7.0]) == (7.0, 7.0)


def test_uneven_groups_are_weighed_by_their_values() -> None:
    low, high = bootstrap([0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"])
    assert (low, high) == (0.0, 1.0)
    drawn = [bootstrap([0.0, 1.0, 1.0, 1.0], "abbb", level=0.5, seed=seed) for seed in range(5)]
    assert all(0.0 <= one <= 0.75 <= other for one, other in drawn)


def test_the_sign_test_is_the_binomial_one() -> None:
    for more, less in ((0, 0), (1, 0), (5, 5), (43, 12), (0, 19)):
        expected = stats.binomtest(more, more + less, 0.5).pvalue if more + less else 1.0
        assert sign_test(more, less) == pytest.approx(expected, rel=1e-12)
        assert sign_test(more, less) == sign_test(less, more)

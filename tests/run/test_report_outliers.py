"""Which classes are weak: Fisher's exact test against SciPy's, and how often it cries wolf."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from stalwart.run._report.outliers import tail, weak


@settings(deadline=None)
@given(st.data())
def test_tail_is_scipys(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 3000))
    n, all_misses = data.draw(st.integers(1, total)), data.draw(st.integers(0, total))
    least, most = max(0, n + all_misses - total), min(n, all_misses)
    misses = data.draw(st.integers(least, most))
    own = tail(misses, n, all_misses, total)
    others = [[misses, n - misses], [all_misses - misses, total - n - all_misses + misses]]
    if misses * total <= all_misses * n:
        assert own == 1.0, "no more than its part"
    else:
        assert own == pytest.approx(fisher_exact(others, alternative="greater").pvalue, rel=1e-6, abs=1e-12)


def test_equal_classes_are_seldom_marked() -> None:
    generator = torch.Generator().manual_seed(0)
    trials = 1000
    right = (torch.rand(trials, 10, 100, generator=generator) < 0.9).float().mean(2)
    cried = sum(any(weak([(float(share), 100) for share in row])) for row in right)
    assert cried / trials < 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_weak_class_is_found_and_unknown_ones_do_no_harm() -> None:
    assert weak([(0.95, 100), (0.5, 100), (None, 100), (0.96, 100), (0.3, 0)]) == [False, True, False, False, False]
    assert weak([(0.0, 10), (0.0, 10)]) == [False, False]
    assert weak([]) == []


def test_counts_of_any_size_take_no_time() -> None:
    begun = time.perf_counter()
    weak([(0.899999, 10**14), *((0.9, 10**14) for _ in range(20))])
    assert time.perf_counter() - begun < 5
    with pytest.raises(ValueError, match="fit"):
        tail(3, 2, 5, 10)

"""AUROC against scikit-learn, DeLong's interval and conformal thresholds against what they promise, a logistic fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from stalwart.core import logistic
from stalwart.core.screening import auroc, conformal, flagged, needed, roc

levels = st.lists(st.integers(0, 12), min_size=1, max_size=40)


@given(low=levels, high=levels)
@settings(max_examples=60, deadline=None)
def test_auroc_is_scikit_learns_with_ties(low: list[int], high: list[int]) -> None:
    value, (least, most) = auroc(torch.tensor(low).float(), torch.tensor(high).float())
    assert value == pytest.approx(roc_auc_score([0] * len(low) + [1] * len(high), low + high), abs=1e-12)
    assert 0 <= least <= value + 1e-12
    assert value - 1e-12 <= most <= 1


def test_a_constant_score_is_a_coin_and_perfect_ones_are_not_sure_of_it() -> None:
    value, (low, high) = auroc(torch.zeros(30), torch.zeros(20))
    assert value == 0.5
    assert low < 0.35
    assert high > 0.65
    value, (low, high) = auroc(torch.zeros(30), torch.ones(20))
    assert value == 1.0
    assert high == 1.0
    assert 0.8 < low < 0.9
    assert math.isnan(auroc(torch.zeros(3), torch.zeros(0))[0])


def test_delongs_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Normal scores a distance d apart have the area Φ(d/√2)."""
    truth = 0.5 * (1 + math.erf(1.0 / math.sqrt(2) / math.sqrt(2)))
    draw = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        low, high = torch.randn(60, generator=draw), torch.randn(40, generator=draw) + 1.0
        least, most = auroc(low, high)[1]
        held += least <= truth <= most
    assert 0.92 <= held / 400 <= 0.975


@given(low=levels, high=levels)
@settings(max_examples=30, deadline=None)
def test_the_curve_is_scikit_learns(low: list[int], high: list[int]) -> None:
    ours = roc(torch.tensor(low).float(), torch.tensor(high).float())
    false, true, _ = roc_curve([0] * len(low) + [1] * len(high), low + high, drop_intermediate=False)
    assert np.allclose(ours, np.stack([false, true], 1))
    assert np.trapezoid([y for _, y in ours], [x for x, _ in ours]) == pytest.approx(
        auroc(torch.tensor(low).float(), torch.tensor(high).float())[0]
    )


def test_a_thinned_curve_keeps_its_ends() -> None:
    curve = roc(torch.randn(500), torch.randn(500) + 1)
    assert len(curve) == 101
    assert curve[0] == (0, 0)
    assert curve[-1] == (1, 1)
    assert curve == sorted(curve)


@given(n=st.integers(1, 150), alpha=st.sampled_from([0.01, 0.05, 0.2]), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_conformal_thresholds_flag_no_more_than_promised(n: int, alpha: float, seed: int) -> None:
    """The mean of the false positive rate over calibration draws is at most α, and not far below it: (⌊(n+1)α⌋)/(n+1).

    Scores are uniform, so the rate of a threshold t is 1 − t.
    """
    draw = torch.Generator().manual_seed(seed)
    thresholds = [conformal(torch.rand(n, generator=draw), alpha) for _ in range(300)]
    if n < needed(alpha):
        assert set(thresholds) == {math.inf}
        return
    assert math.inf not in thresholds
    rates = 1 - torch.tensor(thresholds)
    exact = math.floor((n + 1) * alpha + 1e-9) / (n + 1)
    assert exact <= alpha + 1e-12
    assert abs(float(rates.mean()) - exact) < 4.5 * float(rates.std()) / math.sqrt(300) + 1e-6


def test_how_many_images_a_threshold_takes() -> None:
    assert [needed(alpha) for alpha in (0.01, 0.05)] == [99, 19]
    assert conformal(torch.arange(99.0), 0.01) == 98.0
    assert conformal(torch.arange(98.0), 0.01) == math.inf
    assert flagged(torch.tensor([1.0, 2.0, 3.0, 4.0]), 2.0)["share"] == 0.5  # equal is not above
    assert flagged(torch.tensor([]), 2.0)["share"] is None


def test_logistic_regression_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(size=(80, 3)) * [1, 10, 0.1] + [0, 5, 2], rng.normal(size=(50, 3)) * [1, 20, 0.1] + [1, 0, 2]
    fitted = logistic.fit(torch.from_numpy(low), torch.from_numpy(high), penalty=0.5)
    values = np.concatenate([low, high])
    scaled = (values - values.mean(0)) / values.std(0)
    peer = LogisticRegression(C=2.0, tol=1e-10, max_iter=1000).fit(scaled, [0] * 80 + [1] * 50)
    assert np.allclose(fitted["weight"], peer.coef_[0], atol=1e-5)
    ours = logistic.score(torch.from_numpy(values), fitted)
    assert np.allclose(ours, peer.decision_function(scaled), atol=1e-4)


def test_logistic_regression_of_what_never_overlaps_stays_finite() -> None:
    fitted = logistic.fit(torch.zeros(20, 2), torch.ones(20, 2))
    assert all(value.isfinite().all() for value in fitted.values())
    assert logistic.score(torch.ones(1, 2), fitted) > 0
    assert logistic.score(torch.zeros(1, 2), fitted) < 0

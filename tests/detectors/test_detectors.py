"""Each detector against a closed form, a twin in NumPy or a peer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from scipy.stats import gaussian_kde
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

from stalwart.core import catalog, checks, features
from stalwart.core.errors import ContractError, SpellingError
from stalwart.detectors.density import log_density
from stalwart.detectors.lid import dimension
from stalwart.detectors.squeezing import alike, middle, rounded

VARIANTS = (
    "energy('entropy')", "energy('confidence')", "energy(temperature=3.0)", "mahalanobis(nudge=0.01)",
    "squeezing(bits=0, median=3, smoothing='none')", "squeezing(smoothing='nonlocal', search=5, strength=0.2)",
)  # fmt: skip


@pytest.mark.parametrize("spelled", [*(f"{name}()" for name in catalog.names("detectors")), *VARIANTS])
def test_contract(spelled: str) -> None:
    checks.detector(catalog.make(spelled, "detectors"))


def broken() -> dict[str, Any]:
    good = catalog.load("detectors.energy")

    class Mates(good):  # type: ignore[misc, valid-type]
        def score(self, model: nn.Module, images: Tensor, fitted: object) -> Tensor:
            found = super().score(model, images, fitted)
            return found - found.mean()

    class Detached(good):  # type: ignore[misc, valid-type]
        def score(self, model: nn.Module, images: Tensor, fitted: object) -> Tensor:
            return super().score(model, images, fitted).detach()

    class Hooked(good):  # type: ignore[misc, valid-type]
        def fit(self, model: nn.Module, *rest: Any) -> dict[str, Tensor]:
            model.register_forward_hook(lambda *given: None)
            return {}

    class Random(good):  # type: ignore[misc, valid-type]
        def fit(self, model: nn.Module, *rest: Any) -> dict[str, Tensor]:
            return {"where": torch.rand(3)}

    class Half(good):  # type: ignore[misc, valid-type]
        def score(self, model: nn.Module, images: Tensor, fitted: object) -> Tensor:
            return super().score(model, images, fitted).double()

    return {cls.__name__: cls() for cls in (Mates, Detached, Hooked, Random, Half)}


@pytest.mark.parametrize("name", sorted(broken()))
def test_a_broken_detector_is_caught(name: str) -> None:
    with pytest.raises(ContractError):
        checks.detector(broken()[name])


def test_impossible_settings_are_refused() -> None:
    for spelled in ("lid(k=50, minibatch=20)", "squeezing(bits=0, median=0, smoothing='none')", "squeezing(search=4)"):
        with pytest.raises(SpellingError):
            catalog.make(spelled, "detectors")


# ---------------------------------------------------------------- energy


class Table(nn.Module):
    """Logits by the image's first pixel, an index."""

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, images: Tensor) -> Tensor:
        return self.rows[(images[:, 0, 0, 0] * 10).round().long()]


def test_energy_entropy_and_confidence_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [30.0, 0.0, 0.0]])
    images = (torch.arange(3.0) / 10)[:, None, None, None]
    p = logits.double().softmax(1)

    def scores(spelled: str) -> Tensor:
        found: Tensor = catalog.make(spelled, "detectors").score(Table(logits), images, {})
        return found.double()

    assert torch.allclose(scores("energy()"), -logits.double().exp().sum(1).log())
    assert torch.allclose(scores("energy(temperature=2.0)"), -2 * (logits.double() / 2).exp().sum(1).log())
    assert torch.allclose(scores("energy('entropy')"), -(p * p.log()).sum(1), atol=1e-6)
    confidence = scores("energy('confidence')")
    assert torch.allclose(confidence[:2], 1 - p.amax(1)[:2], atol=1e-6)
    assert confidence[2] == pytest.approx(2 * math.exp(-30), rel=1e-4)  # where 1 − max p rounds to 0


# ---------------------------------------------------------------- squeezing


@pytest.mark.parametrize("size", [2, 3])
def test_the_median_filter_is_scipys(size: int) -> None:
    images = torch.rand(2, 3, 6, 9)
    peer = median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(middle(images, size).numpy(), peer)


def test_non_local_means_mixes_places_alike_and_no_others() -> None:
    stripes = torch.zeros(1, 1, 6, 8)
    stripes[..., ::2] = 1.0
    noisy = stripes + 0.02 * torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    smooth = alike(noisy, search=5, strength=0.05)
    assert (smooth - stripes).abs().mean() < 0.6 * (noisy - stripes).abs().mean()
    assert torch.allclose(alike(torch.full((1, 2, 5, 5), 0.3), 3, 0.01), torch.tensor(0.3))
    one = torch.rand(1, 1, 4, 4)
    assert torch.allclose(alike(one, 3, 1e-4), one, atol=1e-5)


def test_squeezing_by_hand() -> None:
    """A model of one pixel whose logits are (9 x, 0): at 0.3 one bit makes 0 of it, the median of a flat image 0.3."""

    class Pixel(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            value = images.flatten(1).mean(1)
            return torch.stack([9 * value, torch.zeros_like(value)], 1)

    images = torch.full((1, 1, 4, 4), 0.3)
    p, q = 1 / (1 + math.exp(-2.7)), 0.5
    flat = catalog.make("squeezing(bits=1)", "detectors").score(Pixel(), images, {})
    assert float(flat) == pytest.approx(2 * (p - q), abs=1e-5)
    still = catalog.make("squeezing(bits=0)", "detectors").score(Pixel(), images, {})
    assert float(still) == pytest.approx(0.0, abs=1e-6)
    x = images.clone().requires_grad_()
    assert torch.equal(rounded(x, 1), torch.zeros_like(x))
    rounded(x, 1).sum().backward()
    assert x.grad is not None
    assert bool((x.grad == 1).all())


# ---------------------------------------------------------------- lid


@pytest.mark.parametrize("d", [2, 5, 9])
def test_the_dimension_of_a_uniform_ball_is_found(d: int) -> None:
    """Distances from the middle of a uniform ball of d dimensions are U^{1/d}, in a space of more dimensions or not."""
    draw = torch.Generator().manual_seed(d)
    directions = torch.nn.functional.normalize(torch.randn(4000, d, generator=draw), dim=1)
    ball = directions * torch.rand(4000, 1, generator=draw) ** (1 / d)
    within = torch.cat([ball, torch.zeros(4000, 3)], 1) @ torch.linalg.qr(torch.randn(d + 3, d + 3, generator=draw)).Q
    found = dimension(torch.zeros(1, d + 3), within, 1000)
    assert float(found) == pytest.approx(d, rel=0.1)  # its standard error is d/√k, 3 %


def test_the_dimension_by_hand() -> None:
    others = torch.tensor([[1.0], [2.0], [4.0], [100.0]])
    expected = -1 / np.mean([np.log(1 / 4), np.log(2 / 4), 0.0])
    assert float(dimension(torch.zeros(1, 1), others, 3)) == pytest.approx(expected, rel=1e-6)


def test_copies_of_kept_images_give_finite_scores_and_slopes() -> None:
    points = torch.ones(2, 3, requires_grad=True)
    found = dimension(points, torch.ones(10, 3), 5)
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


# ---------------------------------------------------------------- mahalanobis, density


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 6), nn.ReLU(), nn.Linear(6, 3)
    ).eval()


def test_mahalanobis_is_its_twin_in_float64() -> None:
    model = net()
    images = torch.rand(260, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    clean, held, attacked = images[:150], images[150:200], (images[200:260] * 1.5).clamp(0, 1)
    targets = torch.arange(150) % 3
    detector = catalog.make("mahalanobis()", "detectors")
    with torch.no_grad():
        fitted = detector.fit(model, clean, targets, held, attacked)
        ours = detector.score(model, images[200:], fitted)

    def distances(given: Tensor) -> np.ndarray:
        columns = []
        for train, test in zip(features.gather(model, clean).layers, features.gather(model, given).layers, strict=True):
            x, y = train.double().numpy(), test.double().numpy()
            means = np.stack([x[targets.numpy() == c].mean(0) for c in range(3)])
            tied = EmpiricalCovariance(assume_centered=True).fit(x - means[targets.numpy()]).covariance_
            tied = tied + 1e-3 * np.trace(tied) / len(tied) * np.eye(len(tied))
            apart = y[:, None] - means[None]
            columns.append(np.einsum("bkd,de,bke->bk", apart, np.linalg.inv(tied), apart).min(1))
        return np.stack(columns, 1)

    weights = {name: fitted[f"logistic.{name}"].numpy() for name in ("centre", "scale", "weight", "bias")}
    twin = (distances(images[200:]) - weights["centre"]) / weights["scale"] @ weights["weight"] + weights["bias"]
    assert np.allclose(ours.double().numpy(), twin, rtol=2e-3, atol=2e-3)
    both = np.concatenate([distances(held), distances(attacked)])
    assert np.allclose(weights["centre"], both.mean(0), rtol=1e-3)


def test_density_is_scikit_learns_and_scipys() -> None:
    draw = np.random.default_rng(0)
    points, others = draw.normal(size=(7, 3)), draw.normal(size=(40, 3))
    apart = torch.cdist(torch.from_numpy(points), torch.from_numpy(others))
    everywhere = torch.ones(7, 40, dtype=torch.bool)
    ours = log_density(apart, everywhere, 0.7, 3).numpy()
    assert np.allclose(ours, KernelDensity(bandwidth=0.7).fit(others).score_samples(points))
    line, spots = draw.normal(size=30), draw.normal(size=5)
    kde = gaussian_kde(line, bw_method=0.4)
    apart = torch.from_numpy(np.abs(spots[:, None] - line[None]))
    width = float(np.sqrt(kde.covariance[0, 0]))
    assert np.allclose(log_density(apart, torch.ones(5, 30, dtype=torch.bool), width, 1), kde.logpdf(spots))


def test_density_takes_the_predicted_class_and_the_likeliest_bandwidth() -> None:
    model = net()
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    clean, held = images[:120], images[120:]
    with torch.no_grad():
        targets = model(clean).argmax(1)
        detector = catalog.make("density()", "detectors")
        fitted = detector.fit(model, clean, targets, held, None)
        ours = detector.score(model, held, fitted).double().numpy()
        near, seen = features.gather(model, clean).last.double().numpy(), features.gather(model, held)
    predicted, bandwidth = seen.outputs.argmax(1).numpy(), float(fitted["bandwidth"])

    def held_out(h: float) -> np.ndarray:
        found = np.empty(len(held))
        for c in np.unique(predicted):
            kde = KernelDensity(bandwidth=h).fit(near[targets.numpy() == c])
            found[predicted == c] = kde.score_samples(seen.last.double().numpy()[predicted == c])
        return found

    assert np.allclose(ours, -held_out(bandwidth), rtol=1e-3, atol=1e-3)
    assert held_out(bandwidth).mean() >= max(held_out(bandwidth * f).mean() for f in (0.5, 0.7, 1.4, 2.0))


def test_density_of_a_class_without_examples_is_finite() -> None:
    model = net()
    images = torch.rand(60, 1, 8, 8)
    with torch.no_grad():
        detector = catalog.make("density()", "detectors")
        fitted = detector.fit(model, images[:40], torch.full((40,), 7), images[40:], None)
        assert bool(detector.score(model, images[40:], fitted).isfinite().all())

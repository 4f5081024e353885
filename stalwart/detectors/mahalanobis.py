"""How far an image's features lie from every class, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from stalwart.core import features, logistic
from stalwart.core.component import at_least, component

BATCH = 128


@component
class mahalanobis:
    """The distance of a layer's features to the nearest class mean, all layers weighed by logistic regression.

    Lee, Lee, Lee and Shin, "A simple unified framework for detecting out-of-distribution samples and adversarial
    attacks" (NeurIPS 2018), equations 1 to 3: in each layer Gaussians of one shared covariance,
        M(x) = min_c (f − μ_c)ᵀ Σ⁻¹ (f − μ_c),   score = Σ_layers α M(x) + b,
    with μ and Σ from clean training images and α from held-out clean images and images of one attack. Features are
    averaged over their places, as there. Bypassed: its distances are smooth, and an attack descends them.
    """

    trained: ClassVar[bool] = True

    ridge: Annotated[float, at_least(0)] = 1e-3
    """Added to Σ's diagonal, as a share of its mean: features that never vary in training must not divide by zero."""
    nudge: Annotated[float, at_least(0)] = 0.0
    """Input pre-processing (equation 4's x + ε sgn ∇): move the image so far towards the nearest class before each
    layer's distance is taken; one more forward and backward a layer. 0: do not. Attackers pass it straight through."""

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> dict[str, Tensor]:
        assert attacked is not None
        fitted: dict[str, Tensor] = {}
        for number, layer in enumerate(features.gather(model, clean).layers):
            means, whiten = gaussians(layer, targets, self.ridge)
            fitted[f"means.{number}"], fitted[f"whiten.{number}"] = means, whiten
        weights = logistic.fit(self._many(model, held, fitted), self._many(model, attacked, fitted))
        return {**fitted, **{f"logistic.{name}": value for name, value in weights.items()}}

    def score(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        weights = {name: fitted[f"logistic.{name}"] for name in ("centre", "scale", "weight", "bias")}
        return logistic.score(self._distances(model, images, fitted), weights)

    @torch.no_grad()
    def _many(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        parts = [self._distances(model, part, fitted) for part in torch.split(images, BATCH)]
        return torch.cat(parts)

    def _distances(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """(B, L) each layer's distance to the nearest class."""
        if self.nudge == 0:
            layers = features.watch(model, images).layers
            return torch.stack([self._nearest(layer, fitted, number) for number, layer in enumerate(layers)], 1)
        columns = []
        for number in range(sum(name.startswith("means.") for name in fitted)):
            with torch.enable_grad():
                x = images.detach().requires_grad_()
                here = self._nearest(features.watch(model, x).layers[number], fitted, number)
                (slope,) = torch.autograd.grad(here.sum(), x)
            moved = images - self.nudge * slope.sign()
            columns.append(self._nearest(features.watch(model, moved).layers[number], fitted, number))
        return torch.stack(columns, 1)

    def _nearest(self, layer: Tensor, fitted: Mapping[str, Tensor], number: int) -> Tensor:
        means, whiten = fitted[f"means.{number}"].to(layer), fitted[f"whiten.{number}"].to(layer)
        centred = means.mean(0)  # a distance is the same from anywhere; near 0 float32 rounds less
        return (
            torch.cdist(
                (layer - centred) @ whiten.T, (means - centred) @ whiten.T, compute_mode="donot_use_mm_for_euclid_dist"
            )
            .square()
            .amin(1)
        )


def gaussians(layer: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Class means (K, D) and a matrix W (D, D) with WᵀW = (Σ + ridge · tr Σ / D · I)⁻¹, Σ = Σ (f_i − μ_c)² / N."""
    values = layer.double()
    classes, place = torch.unique(targets.to(layer.device), return_inverse=True)
    total = torch.zeros(len(classes), values.shape[1], dtype=values.dtype, device=values.device)
    means = total.index_add(0, place, values) / torch.bincount(place)[:, None]
    shift = values - means[place]
    covariance = shift.T @ shift / len(values)
    room = ridge * covariance.diagonal().mean() + 1e-12
    covariance.diagonal().add_(room)
    lower = torch.linalg.cholesky(covariance)
    whiten = torch.linalg.solve_triangular(
        lower, torch.eye(len(lower), dtype=lower.dtype, device=lower.device), upper=False
    )
    return means.float(), whiten.float()

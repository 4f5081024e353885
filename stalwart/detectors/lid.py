"""Local intrinsic dimensionality: of how many dimensions the clean images around an image seem to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from stalwart.core import features, logistic
from stalwart.core.component import at_least, component
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.rng import generator

BATCH = 128


@component
class lid:
    """Estimates the dimension from distances to the nearest of a minibatch of clean images, in every layer.

    Ma et al., "Characterizing adversarial subspaces using local intrinsic dimensionality" (ICLR 2018), equation 4:
        LID(x) = −(1/k Σ_i log(r_i / r_k))⁻¹,
    r_i the distance to the i-th nearest; the layers are weighed by logistic regression, fitted on held-out clean images
    and images of one attack. The paper draws a minibatch anew for each batch it looks at, so that a score depends on
    who stands beside it; here one minibatch of training images is kept for good. Features are averaged over their
    places. Bypassed by Athalye, Carlini and Wagner (ICML 2018), even by an attack that merely makes the model surer.
    """

    trained: ClassVar[bool] = True

    k: Annotated[int, at_least(2)] = 20
    """Nearest images that the estimate is from."""
    minibatch: Annotated[int, at_least(3)] = 100
    """Clean images among which they are looked for."""

    def __post_init__(self) -> None:
        if self.k > self.minibatch:
            raise SpellingError(f"lid(k=...) must be at most the minibatch, {self.minibatch}. Got {self.k}.")

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> dict[str, Tensor]:
        assert attacked is not None
        if len(clean) < self.k:
            raise InputError(f"lid(k={self.k}) needs at least {self.k} clean images. Got {len(clean)}.")
        chosen = torch.randperm(len(clean), generator=generator("lid"))[: self.minibatch].to(clean.device)
        layers = features.gather(model, clean[chosen]).layers
        fitted = {f"near.{number}": layer for number, layer in enumerate(layers)}
        weights = logistic.fit(self._many(model, held, fitted), self._many(model, attacked, fitted))
        return {**fitted, **{f"logistic.{name}": value for name, value in weights.items()}}

    def score(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        weights = {name: fitted[f"logistic.{name}"] for name in ("centre", "scale", "weight", "bias")}
        return logistic.score(self._dimensions(model, images, fitted), weights)

    @torch.no_grad()
    def _many(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([self._dimensions(model, part, fitted) for part in torch.split(images, BATCH)])

    def _dimensions(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """(B, L) each layer's estimate."""
        layers = features.watch(model, images).layers
        return torch.stack([dimension(x, fitted[f"near.{n}"].to(x), self.k) for n, x in enumerate(layers)], 1)


def dimension(points: Tensor, others: Tensor, k: int) -> Tensor:
    """(B,) the maximum-likelihood estimate at points (B, D) from their k nearest of others (N, D).

    Of an image that stands among the others itself the distance 0 counts as a tiny one.
    """
    near = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist").topk(k, largest=False).values
    near = near.clamp_min(1e-12)
    return -1 / (near / near[:, -1:]).log().mean(1).clamp_max(-1e-6)

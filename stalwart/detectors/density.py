"""Kernel density: how usual an image's features are among those of the class that the model gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from stalwart.core import features
from stalwart.core.component import at_least, component

BATCH = 128
GRID = 40
"""Bandwidths that are tried, evenly spaced on a logarithmic scale."""


@component
class density:
    """Minus the log-density, by Gaussian kernels on the penultimate features of training images of the predicted class.

    Feinman, Curtin, Shintre and Gardner, "Detecting adversarial samples from artifacts" (2017), section 5.1:
        p(x) = 1/n Σ_i N(f(x); f(x_i), h² I),   x_i of the class that the model predicts.
    One bandwidth h serves all classes: the one under which held-out clean images are likeliest. No attack is needed.
    Bypassed by Carlini and Wagner, "Adversarial examples are not easily detected" (AISec 2017), section 5.2.
    """

    trained: ClassVar[bool] = False

    points: Annotated[int, at_least(2)] = 2000
    """Training images that are kept, at most."""

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> dict[str, Tensor]:
        kept = features.gather(model, clean[: self.points]).last
        labels = targets[: self.points].to(kept.device)
        seen = features.gather(model, held)
        apart = _apart(seen.last, kept)
        own = _own(seen.outputs, labels)
        middle = float(apart[own].median().clamp_min(1e-6))
        grid = torch.logspace(-2, 1, GRID, dtype=torch.float64) * middle
        likely = torch.stack([log_density(apart, own, float(h), kept.shape[1]).mean() for h in grid])
        return {"near": kept, "labels": labels, "bandwidth": grid[int(likely.argmax())].float()}

    def score(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        seen = features.watch(model, images)
        near, labels = fitted["near"].to(seen.last), fitted["labels"].to(images.device)
        apart = _apart(seen.last, near)
        found = -log_density(apart, _own(seen.outputs, labels), float(fitted["bandwidth"]), near.shape[1])
        return found.float()


def _apart(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def _own(outputs: Tensor, labels: Tensor) -> Tensor:
    """(B, N) bool: which kept images are of each image's predicted class; all, where the class has none."""
    own = outputs.detach().argmax(1)[:, None] == labels[None]
    return own | ~own.any(1, keepdim=True)


def log_density(apart: Tensor, own: Tensor, bandwidth: float, width: int) -> Tensor:
    """(B,) float64 log 1/n Σ N(distance; h² I) from distances (B, N) in `width` dimensions, over those in `own`."""
    exponent = (-apart.double().square() / (2 * bandwidth**2)).masked_fill(~own, -torch.inf)
    scale = width * math.log(bandwidth * math.sqrt(2 * math.pi))
    return exponent.logsumexp(1) - own.sum(1).double().log() - scale

"""The L∞ ball without a constructor's checks: what rendered threats put around their parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stalwart.core.rng import Noise


@dataclass(frozen=True)
class Boxed:
    """{θ : max |θ − neutral| ≤ ε} within [0, 1]; with ε = 1 every θ is allowed."""

    p: ClassVar[float] = math.inf
    """The norm's exponent: attacks that need a norm work on it."""
    epsilon: float

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """Uniform among all that is allowed."""
        low, high = (clean - self.epsilon).clamp_min(0), (clean + self.epsilon).clamp_max(1)
        return low + (high - low) * noise.uniform(clean.shape[1:]).to(clean.dtype)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        return images + step * gradient.sign()

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(images, clean - self.epsilon), clean + self.epsilon).clamp_(0, 1)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return (images - clean).abs().flatten(1).amax(1)

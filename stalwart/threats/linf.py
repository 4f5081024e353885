"""The L∞ ball: no channel of any pixel changes by more than ε."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core.component import at_least, component
from stalwart.core.rng import Noise


@component
class linf:
    """{x : max |x − clean| ≤ ε} within [0, 1]. The steepest ascent is the gradient's sign (Goodfellow et al. 2015)."""

    p: ClassVar[float] = math.inf
    """The norm's exponent."""

    epsilon: Annotated[float, at_least(0)]
    """The largest change of a channel, in the pixel scale [0, 1]; 8/255 is usual for CIFAR-10, 4/255 for ImageNet."""

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """Uniform in the cube, cut to the box [0, 1]."""
        shift = noise.uniform(clean.shape[1:], -self.epsilon, self.epsilon).to(clean.dtype)
        return (clean + shift).clamp_(0, 1)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        return images + step * gradient.sign()

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Exact: the cube and the box are both products of intervals, so cutting each coordinate is nearest."""
        nearest = torch.minimum(torch.maximum(images, clean - self.epsilon), clean + self.epsilon)
        return nearest.clamp_(0, 1)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return (images - clean).abs().flatten(1).amax(1)

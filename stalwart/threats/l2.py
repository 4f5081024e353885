"""The Euclidean ball: the root of the summed squares of all changes is at most ε."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from stalwart.core.component import at_least, component
from stalwart.core.rng import Noise

TINY = 1e-20
"""Below this a gradient has no direction; far under the smallest useful one, far over float32's underflow."""


@component
class l2:
    """{x : ‖x − clean‖₂ ≤ ε} within [0, 1]. The steepest ascent is the gradient over its norm (Miyato et al. 2017)."""

    epsilon: Annotated[float, at_least(0)]
    """The radius over all channels and pixels together, in the pixel scale [0, 1]; 0.5 is usual for CIFAR-10."""

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """Uniform in the ball, cut to the box [0, 1]: a normal direction, a radius ε u^(1/d)."""
        direction = noise.normal(clean.shape[1:]).to(clean.dtype)
        radius = noise.uniform().to(clean.dtype) ** (1.0 / clean[0].numel()) * self.epsilon  # (B,)
        shift = direction * _each(radius / _norm(direction).clamp_min(TINY), clean)
        return (clean + shift).clamp_(0, 1)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        # Divide by the largest entry first: squares of very small gradients would underflow in float32.
        peak = gradient.abs().flatten(1).amax(1).clamp_min(TINY)
        scaled = gradient / _each(peak, gradient)
        return images + scaled * _each(step / _norm(scaled).clamp_min(TINY), gradient)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Cut to the box, then drawn towards `clean` to the radius.

        `clean` lies in the box, which is convex, so the result is inside both. It is the nearest point of the ball
        among those of the cut image's ray; the exactly nearest point of the intersection needs a search (Croce and
        Hein 2021) and is no better as an ascent's step.
        """
        shift = images.clamp(0, 1) - clean
        factor = (self.epsilon / _norm(shift).clamp_min(TINY)).clamp_max(1.0)
        return (clean + shift * _each(factor, shift)).clamp_(0, 1)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return _norm(images - clean)


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norm


def _each(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1), to multiply each image by its own value."""
    return values.view(-1, *[1] * (like.ndim - 1))

"""The Euclidean ball: the root of the summed squares of all changes is at most ε."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import at_least, component
from stalwart.core.rng import Noise


@component
class l2:
    """{x : ‖x − clean‖₂ ≤ ε} within [0, 1]. The steepest ascent is the gradient over its norm (Miyato et al. 2017)."""

    p: ClassVar[float] = 2.0
    """The norm's exponent."""

    epsilon: Annotated[float, at_least(0)]
    """The radius over all channels and pixels together, in the pixel scale [0, 1]; 0.5 is usual for CIFAR-10."""

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """Uniform in the ball, cut to the box [0, 1]: a normal direction, a radius ε u^(1/d)."""
        direction = balls.steepest(noise.normal(clean.shape[1:]).to(clean.dtype), 2)
        radius = noise.uniform().to(clean.dtype) ** (1.0 / clean[0].numel()) * self.epsilon  # (B,)
        return (clean + direction * balls.each(radius, clean)).clamp_(0, 1)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        return images + step * balls.steepest(gradient, 2)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Cut to the box, then drawn towards `clean` to the radius.

        `clean` lies in the box, which is convex, so the result is inside both. It is the nearest point of the ball
        among those of the cut image's ray; the exactly nearest point of the intersection needs a search (Croce and
        Hein 2021) and is no better as an ascent's step.
        """
        return (clean + balls.project(images.clamp(0, 1) - clean, self.epsilon, 2)).clamp_(0, 1)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return balls.norm(images - clean, 2)

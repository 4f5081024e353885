"""No bound at all: every image is allowed."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from torch import Tensor

from stalwart.core.boxed import Boxed
from stalwart.core.component import between, component
from stalwart.core.rng import Noise


@component
class unbounded:
    """Every image in [0, 1]. An attack that fails here fails for a reason of its own: a check of attacks.

    Carlini et al., "On evaluating adversarial robustness" (2019): an unbounded attack must reach 100 %. It is the L∞
    ball of radius 1, so attacks that need a norm work in it, and the smaller radii of a sweep are L∞ balls; only its
    random start is another, uniform among all that is allowed.
    """

    p: ClassVar[float] = math.inf
    """The norm's exponent."""

    epsilon: Annotated[float, between(0, 1)] = 1.0
    """The largest change of a channel; 1 allows every image."""

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        return Boxed(self.epsilon).start(clean, noise)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        return Boxed(self.epsilon).ascend(images, gradient, step)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        return Boxed(self.epsilon).project(images, clean)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return Boxed(self.epsilon).size(images, clean)

"""The L0 ball: so many pixels may become anything."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import at_least, component
from stalwart.core.rng import Noise


@component
class l0:
    """{x : at most ε pixels differ from clean} within [0, 1]. A pixel is all channels of one place.

    Croce and Hein, "Sparse and imperceivable adversarial attacks" (ICCV 2019). The set is not convex: gradient attacks
    find less of what is there than within the other balls, and robustness here is easily overestimated.
    """

    p: ClassVar[float] = 0.0
    """The norm's exponent."""

    epsilon: Annotated[float, at_least(0)]
    """Pixels that may change; 10 is usual for CIFAR-10."""

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """Random colours at random places."""
        colours = noise.uniform(clean.shape[1:]).to(clean.dtype)
        place = noise.uniform((1, *clean.shape[2:]))
        count = min(int(self.epsilon), place[0].numel())
        chosen = torch.zeros_like(place).flatten(1)
        chosen.scatter_(1, place.flatten(1).topk(count, dim=1).indices, 1.0)
        return torch.where(chosen.view_as(place) > 0, colours, clean)

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        """The `step` pixels that would gain most to first order go to the walls of the box, each channel to its own."""
        wall = (gradient > 0).to(images.dtype)
        gain = (gradient * (wall - images)).sum(1).flatten(1)  # (B, H·W), 0 or more
        count = min(max(1, round(step)), gain.shape[1])
        chosen = torch.zeros_like(gain).scatter_(1, gain.topk(count, dim=1).indices, 1.0)
        chosen = (chosen * (gain > 0)).view(len(images), 1, *images.shape[2:])
        moved = torch.where(gradient == 0, images, wall)
        return torch.where(chosen > 0, moved, images)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The ε pixels of largest Euclidean change keep it, the others go back."""
        return clean + balls.project(images.clamp(0, 1) - clean, self.epsilon, 0)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return balls.norm(images - clean, 0)

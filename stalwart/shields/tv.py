"""Total variation minimisation."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import above, at_least, component
from stalwart.core.shielding import Shielded


@component
class tv:
    """The image u near x with little total variation: min_u ‖u − x‖² / (2 · weight) + TV(u), channel by channel.

    Rudin, Osher and Fatemi (Physica D 1992) as a shield: Guo et al., "Countering adversarial images using input
    transformations" (ICLR 2018), section 3, there with a random part of the pixels; solved by Chambolle's projection
    (JMIV 2004). Masking: as deployed the solver has no gradient. The twin passes gradients straight through.
    """

    masks: ClassVar[bool] = True

    weight: Annotated[float, above(0)] = 0.05
    """The larger, the smoother; in the pixel scale [0, 1]."""
    steps: Annotated[int, at_least(1)] = 30
    """Iterations of the solver."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Smoothed(model, self.weight, self.steps)


class _Smoothed(Shielded):
    def __init__(self, inner: nn.Module, weight: float, steps: int) -> None:
        super().__init__(inner)
        self.weight, self.steps = weight, steps

    @torch.no_grad()
    def defend(self, images: Tensor) -> Tensor:
        """p ← (p + τ ∇u) / (1 + τ |∇u| / weight), u = x + div p, with τ = 1/4 (Chambolle 2004, equation 9)."""
        down = torch.zeros_like(images)  # the dual field p, (B, C, H, W) each
        across = torch.zeros_like(images)
        smooth = images
        for _ in range(self.steps):
            slope_down = F.pad(smooth[..., 1:, :] - smooth[..., :-1, :], (0, 0, 0, 1))
            slope_across = F.pad(smooth[..., 1:] - smooth[..., :-1], (0, 1))
            length = (slope_down.square() + slope_across.square()).sqrt()
            shrink = 1 + length * (0.25 / self.weight)
            down = (down + 0.25 * slope_down) / shrink
            across = (across + 0.25 * slope_across) / shrink
            smooth = images + _divergence(down, across)
        return smooth


def _divergence(down: Tensor, across: Tensor) -> Tensor:
    """The negative adjoint of the forward differences; p is 0 on the last row and column."""
    return down - F.pad(down[..., :-1, :], (0, 0, 1, 0)) + across - F.pad(across[..., :-1], (1, 0))

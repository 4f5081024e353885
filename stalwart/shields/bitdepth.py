"""Fewer grey levels."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from stalwart.core.component import between, component
from stalwart.core.shielding import Shielded


@component
class bitdepth:
    """Rounds each value to 2^bits levels before the model sees it.

    Xu, Evans and Qi, "Feature squeezing: detecting adversarial examples in deep neural networks" (NDSS 2018), section
    III-A. Masking: rounding has a slope of zero nearly everywhere, so plain gradients vanish while the weakness stays;
    an attack that passes it straight through (`bpda`) undoes the shield.
    """

    masks: ClassVar[bool] = True

    bits: Annotated[int, between(1, 8)] = 4
    """Bits that are left of each value."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Rounded(model, 2**self.bits - 1)


class _Rounded(Shielded):
    def __init__(self, inner: nn.Module, steps: int) -> None:
        super().__init__(inner)
        self.steps = steps

    def defend(self, images: Tensor) -> Tensor:
        return (images * self.steps).round() / self.steps

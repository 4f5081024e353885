"""Adam."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from stalwart.core.component import Range, above, at_least, component
from stalwart.core.parameters import trainable


@component
class adam:
    """Adam: steps by the gradient's running mean over the root of its running square.

    Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1.
    """

    lr: Annotated[float, above(0)] = 1e-3
    """Peak learning rate."""
    beta1: Annotated[float, Range(0, 1, open_high=True)] = 0.9
    """Decay of the running mean."""
    beta2: Annotated[float, Range(0, 1, open_high=True)] = 0.999
    """Decay of the running square."""
    weight_decay: Annotated[float, at_least(0)] = 0.0
    """λ added to the gradient as λ w, on all parameters; `adamw` decays the weights themselves."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            trainable(model), lr=self.lr, betas=(self.beta1, self.beta2), weight_decay=self.weight_decay
        )

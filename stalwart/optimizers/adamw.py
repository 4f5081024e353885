"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from stalwart.core.component import Range, above, at_least, component
from stalwart.core.parameters import weights_and_rest


@component
class adamw:
    """Adam whose weight decay shrinks the weights directly and not through the gradient's statistics.

    Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019), algorithm 2.
    """

    lr: Annotated[float, above(0)] = 2e-3
    """Peak learning rate."""
    beta1: Annotated[float, Range(0, 1, open_high=True)] = 0.9
    """Decay of the running mean."""
    beta2: Annotated[float, Range(0, 1, open_high=True)] = 0.999
    """Decay of the running square."""
    weight_decay: Annotated[float, at_least(0)] = 0.02
    """λ of w ← w − lr λ w, on weights alone: biases and norms are left out."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        weights, rest = weights_and_rest(model)
        groups = [{"params": weights, "weight_decay": self.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.lr, betas=(self.beta1, self.beta2)
        )

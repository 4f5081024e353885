"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from stalwart.core.component import Range, above, at_least, component
from stalwart.core.parameters import weights_and_rest


@component
class sgd:
    """SGD with Nesterov momentum: v ← μ v + g, w ← w − lr (g + μ v).

    Sutskever et al., "On the importance of initialization and momentum in deep learning" (ICML 2013), in PyTorch's
    form, where the learning rate stands outside of the velocity.
    """

    lr: Annotated[float, above(0)] = 0.1
    """Peak learning rate, for a loss averaged over the batch."""
    momentum: Annotated[float, Range(0, 1, open_high=True)] = 0.9
    """μ; 0 for plain gradient descent."""
    nesterov: bool = True
    """Look ahead along the momentum before taking the gradient's step."""
    weight_decay: Annotated[float, at_least(0)] = 5e-4
    """λ of λ/2 ‖w‖², on weights alone: biases and norms are left out."""
    bias_scale: Annotated[float, above(0)] = 1.0
    """Factor on the learning rate of biases and norms; airbench's networks train them 64 times as fast."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        weights, rest = weights_and_rest(model)
        groups = [
            {"params": weights, "lr": self.lr, "weight_decay": self.weight_decay},
            {"params": rest, "lr": self.lr * self.bias_scale, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(
            [group for group in groups if group["params"]],
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
        )

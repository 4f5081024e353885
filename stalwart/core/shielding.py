"""What shields are built on: a model behind preprocessing, and the way through it of an attacker who knows it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Shielded(nn.Module):
    """A model whose images pass a defence first.

    Args:
        inner: the model behind it; it is used, not copied.
    """

    random = False
    """Whether two passes of one image may differ: an attacker then averages over several (`eot`)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.straight = False

    def defend(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to the same: what the model gets to see."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        if not self.straight:
            out: Tensor = self.inner(self.defend(images))
            return out
        with torch.no_grad():
            seen = self.defend(images.detach())
        through: Tensor = self.inner(images + (seen - images).detach())
        return through


def differentiable(model: nn.Module) -> nn.Module:
    """A twin of `model` with the same outputs, through whose shields gradients pass as if they were not there.

    Backward pass differentiable approximation with the identity: Athalye, Carlini and Wagner, "Obfuscated gradients
    give a false sense of security" (ICML 2018), section 4.1. Weights are shared, not copied; a model without shields
    comes back as it is.
    """
    if not any(isinstance(module, Shielded) for module in model.modules()):
        return model
    memo = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, memo)
    for module in twin.modules():
        if isinstance(module, Shielded):
            module.straight = True
    return twin


def random(model: nn.Module) -> bool:
    """Whether a shield in `model` draws at random in each pass."""
    return any(isinstance(module, Shielded) and module.random for module in model.modules())

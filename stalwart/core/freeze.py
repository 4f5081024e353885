"""A model held still: evaluation mode, no parameter gradients, and every switch put back on the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def resting(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` in evaluation mode for as long as the block lasts; its parameters want gradients as before.

    Afterwards the training flag of each module is what it was: a plain `model.train()` would thaw BatchNorm layers that
    their owner had frozen.
    """
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        if any(isinstance(module, nn.RNNBase) for module, _ in modes):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # its RNNs have no backward in evaluation
        try:
            yield model.eval()
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` in evaluation mode and switch its parameters' gradients off, for as long as the block lasts.

    Afterwards the training flag of each module and the `requires_grad` of each parameter are what they were.
    """
    wants = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with resting(model):
        try:
            for parameter, _ in wants:
                parameter.requires_grad_(False)
            yield model
        finally:
            for parameter, wanted in wants:
                parameter.requires_grad_(wanted)

"""Which parameters an optimizer treats alike."""

from __future__ import annotations

from torch import nn


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def weights_and_rest(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of two dimensions or more, and biases and norms. Weight decay is for the former only: shrinking a scale
    or an offset regularises nothing (He et al., "Bag of tricks for image classification", CVPR 2019, section 3.1)."""
    everything = trainable(model)
    return [p for p in everything if p.ndim >= 2], [p for p in everything if p.ndim < 2]

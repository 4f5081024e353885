"""Maps of logits, one for each pixel: reading them from a model's outputs, and their cross-entropy."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.errors import ContractError
from stalwart.core.places import VOID


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """The model's logits (B, K, H, W) at images (B, C, H, W), by one forward pass; see `logits_in`."""
    return logits_in(model(images), images)


def logits_in(outputs: Any, images: Tensor) -> Tensor:
    """The logits (B, K, H, W) among a model's outputs, in float32 at the images' size; coarser ones are enlarged,
    bilinear. Of several outputs, a dict, it is the one named 'semantic'.

    Raises:
        ContractError: there are none.
    """
    logits = outputs.get("semantic") if isinstance(outputs, dict) else outputs
    if not isinstance(logits, Tensor) or logits.ndim != 4 or len(logits) != len(images):
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ContractError(
            f"a model for semantic segmentation must give logits of shape ({len(images)}, classes, h, w). Got {came}."
        )
    logits = logits.float()
    if logits.shape[2:] != images.shape[2:]:
        logits = F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)
    return logits


def entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B, H, W) cross-entropy, 0 at void."""
    return F.cross_entropy(logits, targets.long(), ignore_index=VOID, reduction="none", label_smoothing=smoothing)


def mean(values: Tensor, weight: Tensor) -> Tensor:
    """(B,) the weighted mean of (B, H, W) over pixels; 0 where nothing has weight."""
    weight = weight.to(values.dtype)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """(B,) the mean over all pixels of KL(softmax before ‖ softmax after) of logits (B, K, H, W)."""
    here, there = before.log_softmax(1), after.log_softmax(1)
    return F.kl_div(there, here, reduction="none", log_target=True).sum(1).flatten(1).mean(1)

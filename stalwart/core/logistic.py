"""Logistic regression of a few numbers: how detectors weigh their layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 100
"""Newton's steps at most; ten are usual."""


def fit(low: Tensor, high: Tensor, penalty: float = 1.0) -> dict[str, Tensor]:
    """Weights that tell `high` (M, L) from `low` (N, L): the minimum of Σ log(1 + e^{−y (w·z + b)}) + penalty/2 ‖w‖².

    z is standardised, so that the penalty weighs all columns alike; b goes free. It has one minimum, found by
    Newton's method in float64, with steps halved where they would go too far.

    Returns:
        'centre' (L,), 'scale' (L,), 'weight' (L,), 'bias' (), for `score`.
    """
    values = torch.cat([low, high]).double()
    target = torch.cat([torch.zeros(len(low)), torch.ones(len(high))]).to(values)
    centre, scale = values.mean(0), values.std(0, correction=0).clamp_min(1e-12)
    z = torch.cat([(values - centre) / scale, torch.ones_like(values[:, :1])], 1)  # the last column is b's
    ridge = torch.full((z.shape[1],), penalty, dtype=z.dtype, device=z.device)
    ridge[-1] = 0.0

    def cost(w: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z @ w, target, reduction="sum") + (ridge * w * w).sum() / 2

    w = torch.zeros_like(ridge)
    for _ in range(ROUNDS):
        p = (z @ w).sigmoid()
        slope = z.T @ (p - target) + ridge * w
        bend = (z * (p * (1 - p))[:, None]).T @ z + torch.diag(ridge + 1e-9)
        step = torch.linalg.solve(bend, slope)
        size = 1.0
        while size > 1e-6 and bool(cost(w - size * step) > cost(w)):
            size /= 2
        w = w - size * step
        if float((size * step).abs().max()) < 1e-10:
            break
    return {"centre": centre, "scale": scale, "weight": w[:-1], "bias": w[-1]}


def score(values: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
    """(B,) float32 log-odds of rows (B, L) being of the high kind."""
    z = (values - fitted["centre"].to(values)) / fitted["scale"].to(values)
    return (z @ fitted["weight"].to(values) + fitted["bias"].to(values)).float()

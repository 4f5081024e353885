"""Norm balls sample by sample: norms, projections with a radius for each sample, steepest directions.

`p` is 0, 1, 2 or inf. L0 counts pixels, a pixel being all channels of one place; the others take all entries alike.
Threats, and the attacks that look for the smallest change, share these.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor

TINY = 1e-20
"""Below this a vector has no direction; far under the smallest useful gradient, far over float32's underflow."""


@overload
def each(values: Tensor, like: Tensor) -> Tensor: ...
@overload
def each(values: Tensor | float, like: Tensor) -> Tensor | float: ...
def each(values: Tensor | float, like: Tensor) -> Tensor | float:
    """(B,) as (B, 1, 1, 1), to meet each sample with its own value; a plain number passes through."""
    return values.view(-1, *[1] * (like.ndim - 1)) if isinstance(values, Tensor) and values.ndim else values


def norm(shift: Tensor, p: float) -> Tensor:
    """(B,) the norm of each sample's change (B, C, H, W)."""
    if p == 0:
        return (shift != 0).any(1).flatten(1).sum(1).to(shift.dtype)
    size: Tensor = torch.linalg.vector_norm(shift.flatten(1), ord=p, dim=1)
    return size


def dual(p: float) -> float:
    """The exponent q of the dual norm, 1/p + 1/q = 1."""
    return {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[float(p)]


def project(shift: Tensor, radius: Tensor | float, p: float) -> Tensor:
    """The nearest point to each change (B, C, H, W) within the ball of its own `radius` (B,) or number.

    The box [0, 1] plays no part here.
    """
    if p == math.inf:
        bound = each(radius, shift)
        if isinstance(bound, Tensor):
            return torch.minimum(torch.maximum(shift, -bound), bound)
        return shift.clamp(-bound, bound)
    if p == 2:
        factor = (radius / norm(shift, 2).clamp_min(TINY)).clamp_max(1.0)
        return shift * each(factor, shift)
    if p == 1:
        return _project_l1(shift, radius)
    if p == 0:
        return _project_l0(shift, radius)
    raise ValueError(f"p must be 0, 1, 2 or inf. Got {p}.")


def _project_l1(shift: Tensor, radius: Tensor | float) -> Tensor:
    """Duchi et al., "Efficient projections onto the l1-ball" (ICML 2008): soft-threshold at the λ that fits."""
    size = shift.abs().flatten(1)  # (B, N)
    bound = torch.as_tensor(radius, dtype=shift.dtype, device=shift.device).expand(len(shift))[:, None]
    order = size.sort(1, descending=True).values
    excess = order.cumsum(1) - bound
    count = torch.arange(1, size.shape[1] + 1, device=shift.device)
    kept = ((order * count) > excess).sum(1, keepdim=True).clamp_min(1)  # the property holds for a prefix
    threshold = (excess.gather(1, kept - 1) / kept).clamp_min(0)
    return (shift.flatten(1).sign() * (size - threshold).clamp_min(0)).view_as(shift)


def _project_l0(shift: Tensor, radius: Tensor | float) -> Tensor:
    """Keep the pixels of largest Euclidean change, as many as the radius says."""
    weight = shift.square().sum(1).flatten(1)  # (B, H·W)
    bound = torch.as_tensor(radius, dtype=shift.dtype, device=shift.device).expand(len(shift))
    rank = weight.sort(dim=1, descending=True, stable=True).indices.argsort(1)
    keep: Tensor = rank < bound.floor()[:, None]
    return shift * keep.view(len(shift), 1, *shift.shape[2:])


def steepest(gradient: Tensor, p: float) -> Tensor:
    """The direction of unit p-norm that raises a linear function the most, for p 2 or inf (B, C, H, W).

    Under L1 it is one entry alone and under L0 one pixel, which no attack steps by; they choose sparser mixtures.
    """
    if p == math.inf:
        return gradient.sign()
    if p == 2:
        # Divide by the largest entry first: squares of very small gradients would underflow in float32.
        scaled = gradient / each(gradient.abs().flatten(1).amax(1).clamp_min(TINY), gradient)
        return scaled / each(norm(scaled, 2).clamp_min(TINY), gradient)
    raise ValueError(f"p must be 2 or inf. Got {p}.")

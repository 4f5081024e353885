"""A normal distribution squashed by tanh, as SAC draws its actions, and its slopes in closed form.

With u = μ + σ ε, ε ~ N(0, 1), and a = tanh u: log π(a) = log N(u) − Σ log(1 − tanh² u) (Haarnoja et al., "Soft
actor-critic algorithms and applications" 2018, appendix C). A test asks autograd for the slopes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_STD, MOST_STD = -5.0, 2.0
"""Range of log σ."""


class Squashed(NamedTuple):
    """Drawn actions of B rows."""

    action: Tensor
    """(B, dims) in (−1, 1)."""
    density: Tensor
    """(B,): log π(a)."""
    shift: Tensor
    """(B, dims): σ ε."""
    free: Tensor
    """(B, dims) bool: log σ lies within its range, so that it has a slope."""


def draw(out: Tensor, noise: Tensor) -> Squashed:
    """Of a head's numbers (B, 2 · dims), μ and log σ, and ε (B, dims); differentiable.

    log(1 − tanh² u) = 2 (log 2 − u − softplus(−2u)) does not underflow.
    """
    mean, given = out.chunk(2, -1)
    log_std = given.clamp(LEAST_STD, MOST_STD)
    shift = log_std.exp() * noise
    raw = mean + shift
    normal = -0.5 * noise * noise - log_std
    volume = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
    density = (normal - volume).sum(-1) - 0.5 * math.log(2 * math.pi) * noise.shape[-1]
    return Squashed(raw.tanh(), density, shift, log_std == given)


def slopes(drawn: Squashed, by_action: Tensor, by_density: Tensor | float) -> Tensor:
    """(B, 2 · dims): by how much a loss rises with the head's numbers.

    As log π does so with u by 2a: the density of a itself, which tanh makes steeper towards its ends.

    Args:
        by_action: (B, dims) how it rises with the action; `by_density`: with log π, (B, 1) or one number.
    """
    action = drawn.action
    by_raw = by_action * (1 - action * action) + by_density * 2 * action
    return torch.cat([by_raw, (by_raw * drawn.shift - by_density) * drawn.free], -1)

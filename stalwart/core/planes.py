"""The nearest point of a plane within the box [0, 1], sample by sample: what DeepFool's and FAB's steps are.

Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack" (ICML 2020), section 3:
    argmin ‖z − x‖_p   with   ⟨w, z⟩ = ⟨w, x⟩ + b,  z in [0, 1]^d
Each coordinate that helps goes the same way, so it is one number a sample that is looked for. Under L1 the coordinates
of the largest slopes are filled one after the other: a sort. Under L2 and L∞ coordinate i moves by min(λ u_i, r_i),
with r_i its room to the wall and u = |w| or 1, and λ is the root of an increasing, concave, piecewise linear function.
Newton's method from the left never passes that root and ends on it after finitely many steps; for 3,072 coordinates
those few passes cost a fraction of the sort that the paper finds λ by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stalwart.core import balls

ROUNDS = 40
"""Newton's steps at most; three to eight are usual."""


def reach(images: Tensor, slope: Tensor, rise: Tensor, p: float) -> Tensor:
    """The smallest change (B, C, H, W) by which a linear function of this slope rises by `rise` within the box.

    Args:
        images: (B, C, H, W) in [0, 1].
        slope: (B, C, H, W) the function's gradient w.
        rise: (B,) b, of either sign.
        p: 1, 2 or inf.

    Returns:
        The change; where the box does not hold a point that high, the one that comes nearest to it.
    """
    toward = slope * balls.each(rise.sign(), slope)
    wall = torch.where(toward > 0, 1 - images, images).clamp_min(0)  # a coordinate's room on the side that helps
    gain, room, want = toward.abs().flatten(1), wall.flatten(1), rise.abs()  # (B, N), (B, N), (B,)
    # In units of the largest slope: sums of squares of very small slopes would underflow in float32.
    peak = gain.amax(1, keepdim=True).clamp_min(balls.TINY)
    gain = gain / peak
    want = torch.minimum(want / peak.squeeze(1), (gain * room).sum(1))  # no more than the box holds
    if p == 1:
        moved = _fill(gain, room, want)
    elif p in (2, math.inf):
        moved = _level(gain, gain if p == 2 else (gain > 0).to(gain.dtype), room, want)
    else:
        raise ValueError(f"p must be 1, 2 or inf. Got {p}.")
    return moved.view_as(images) * toward.sign()


def _fill(gain: Tensor, room: Tensor, want: Tensor) -> Tensor:
    """(B, N) The coordinates of the largest slopes to their walls, the last one as far as is needed."""
    gain, order = gain.sort(1, descending=True)
    full = room.gather(1, order)
    got = (gain * full).cumsum(1)
    left = want[:, None] - (got - gain * full)  # what is wanted still when this coordinate's turn comes
    part = torch.minimum((left / gain.clamp_min(balls.TINY)).clamp_min(0), full)
    return torch.zeros_like(part).scatter_(1, order, torch.where(gain > 0, part, torch.zeros_like(part)))


def _level(gain: Tensor, pace: Tensor, room: Tensor, want: Tensor) -> Tensor:
    """(B, N) min(λ pace, room) with Σ gain · min(λ pace, room) = want."""
    rate = gain * pace
    level = want / rate.sum(1).clamp_min(balls.TINY)
    for _ in range(ROUNDS):
        step = level[:, None] * pace
        free = step < room
        short = want - (gain * torch.where(free, step, room)).sum(1)
        climb = (rate * free).sum(1)
        # Nothing is short but for rounding, or nothing is free to move: this sample is done.
        more = (short > 1e-6 * want) & (climb > 0)
        if not bool(more.any()):
            break
        level = torch.where(more, level + short / climb.clamp_min(balls.TINY), level)
    return torch.minimum(level[:, None] * pace, room)

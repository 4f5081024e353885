"""What an ascent looks at in a verdict: the loss that it raises, and its slope."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stalwart.core import losses
from stalwart.core.contracts import Goal, Verdict

Loss = Callable[[Verdict, Tensor | None], Tensor]
"""(verdict, rival (B,) or None) to what each sample's ascent raises (B,)."""


def cross_entropy(verdict: Verdict, rival: Tensor | None) -> Tensor:
    """The goal's own cross-entropy from its gaps; of a task without gaps the goal's loss."""
    return verdict.loss if verdict.gaps is None else losses.cross_entropy(verdict.gaps)


def margin(verdict: Verdict, rival: Tensor | None) -> Tensor:
    if verdict.gaps is None:
        return verdict.loss
    return losses.margin(verdict.gaps) if rival is None else losses.toward(verdict.gaps, rival)


def dlr(verdict: Verdict, rival: Tensor | None) -> Tensor:
    """The difference of logits ratio, or towards `rival`; the margin where the classes are too few for a ratio."""
    gaps = verdict.gaps
    if gaps is None or gaps.shape[1] < (3 if rival is None else 4):
        return margin(verdict, rival)
    return losses.dlr(gaps) if rival is None else losses.dlr_toward(gaps, rival)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def look(x: Tensor, goal: Goal, raise_: Loss, rival: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Each sample's loss (B,), its gradient (B, C, H, W), and whether the goal is reached (B,)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        verdict = goal(x)
        value = raise_(verdict, rival)
        gradient: Tensor | None = None
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True)
    # NaN would stay in the best point for good: a sample without a slope stands still.
    slope = torch.zeros_like(x) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
    return value.detach(), slope, verdict.reached

"""Losses of the logits from a verdict's gaps alone: what attacks choose among, whatever loss the goal was given.

Gaps (B, R) are z_j − z_y with −inf at the label's own column, so shifted logits give the same numbers. Of a targeted
goal they are one rival's, z_t − max_{j≠t} z_j, and −inf.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stalwart.core.contracts import Goal, Verdict
from stalwart.core.errors import InputError


def gaps_of(verdict: Verdict, who: str) -> Tensor:
    """The verdict's gaps (B, R). Raises InputError where the task gives none; `who` names the attack that asks."""
    if verdict.gaps is None:
        raise InputError(f"{who} needs a task whose goals give gaps between outcomes, as classification's do.")
    return verdict.gaps


def raising(goal: Goal, kind: str) -> Goal | None:
    """The same goal, which raises another of its task's losses; None of a goal that has one alone."""
    way = getattr(goal, "raising", None)
    found: Goal | None = None if way is None else way(kind)
    return found


def margin(gaps: Tensor) -> Tensor:
    """(B,) max_j z_j − z_y: above 0 where the goal is reached (Carlini and Wagner 2017, f₆ without its floor)."""
    return gaps.amax(1)


def toward(gaps: Tensor, rival: Tensor) -> Tensor:
    """(B,) z_t − z_y for one rival (B,) int64 of each sample."""
    return gaps.gather(1, rival[:, None]).squeeze(1)


def cross_entropy(gaps: Tensor) -> Tensor:
    """(B,) −log softmax(z)_y = log(1 + Σ_j e^{z_j − z_y}), down to 1e-38 where the softmax itself rounds to 1."""
    return F.softplus(gaps.logsumexp(1))


def dlr(gaps: Tensor) -> Tensor:
    """(B,) max_{j≠y} (z_j − z_y) / (z_π1 − z_π3), blind to shift and scale (Croce and Hein 2020, equation 6).

    Raises:
        InputError: fewer than three outcomes, for which the ratio is not defined.
    """
    order = _order(gaps, 3, "dlr")
    return margin(gaps) / (order[:, 0] - order[:, 2]).clamp_min(1e-12)


def dlr_toward(gaps: Tensor, rival: Tensor) -> Tensor:
    """(B,) (z_t − z_y) / (z_π1 − (z_π3 + z_π4) / 2), the targeted ratio (Croce and Hein 2020, equation 7).

    Raises:
        InputError: fewer than four outcomes.
    """
    order = _order(gaps, 4, "targeted dlr")
    return toward(gaps, rival) / (order[:, 0] - (order[:, 2] + order[:, 3]) / 2).clamp_min(1e-12)


def rivals(gaps: Tensor, count: int) -> Tensor:
    """(B, count) int64: the nearest rivals of each sample, nearest first; fewer columns where there are fewer."""
    return gaps.detach().topk(min(count, gaps.shape[1] - 1), dim=1).indices


def _order(gaps: Tensor, needed: int, what: str) -> Tensor:
    """Each sample's logits less z_y, largest first: its own is the 0, and the −inf of its column sinks to the end."""
    if gaps.shape[1] < needed:
        raise InputError(f"the {what} loss needs a model of at least {needed} classes. Got {gaps.shape[1]}.")
    return F.pad(gaps, (0, 1)).sort(1, descending=True).values

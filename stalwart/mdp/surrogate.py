"""What PPO descends, and its slopes in closed form: Schulman et al., "Proximal policy optimization algorithms" (2017).

With r = π(a|s) / π_old(a|s) the policy climbs E[min(r A, clip(r, 1 − ε, 1 + ε) A)] (equation 7), the values descend
(V − R)², and an entropy bonus keeps the policy from settling early (equation 9). A test asks autograd for the slopes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stalwart.mdp.policies import Policy

NORMAL = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Weighing:
    """The constants of equation 9."""

    clip: float
    """ε."""
    value: float
    """Weight of the values' squared error."""
    entropy: float
    """Weight of the entropy."""
    climbing: bool = True
    """Whether the policy learns; else the values alone."""


class Found(NamedTuple):
    """Of some rows: their part of the loss, and by how much it rises with what the networks gave."""

    loss: Tensor
    out: Tensor
    """(B, outputs)."""
    value: Tensor
    """(B,)."""
    log_std: Tensor | None
    """(dims,) of a gaussian policy."""


def clipped(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """−min(r A, clip(r) A), the mean over samples (equation 7)."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def log_density(policy: Policy, out: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """log π(raw) for each sample and the mean entropy, from the head's numbers."""
    if policy.kind == "logits":
        logs = out.log_softmax(-1)
        return logs.gather(-1, raw[..., None])[..., 0], -(logs.exp() * logs).sum(-1).mean()
    assert policy.log_std is not None
    scaled = (raw - out) * (-policy.log_std).exp()
    return (-0.5 * scaled**2 - policy.log_std - NORMAL).sum(-1), (policy.log_std + NORMAL + 0.5).sum()


def surrogate(
    policy: Policy, out: Tensor, value: Tensor, raw: Tensor, before: Tensor, gain: Tensor, target: Tensor,
    how: Weighing, total: int,
) -> Found:  # fmt: skip
    """The loss and its slopes, where no gradients are recorded.

    Args:
        out, value: (B, outputs) and (B,), as the networks gave them.
        raw: (B,) int64 or (B, dims), the actions that were taken; `before`: (B,) the logarithm of their density then.
        gain: (B,) A, over its deviation if wished; `target`: (B,) R.
        total: samples of the whole gradient, of which these B are a part; losses and slopes of the parts add up.
    """
    gap = value - target
    loss, d_value = how.value / total * (gap @ gap), (2 * how.value / total) * gap
    if not how.climbing:
        return Found(loss, torch.zeros_like(out), d_value, None)
    if policy.kind == "logits":
        logs = out.log_softmax(-1)
        shares = logs.exp()
        log = logs.gather(-1, raw[:, None])[:, 0]
    else:
        assert policy.log_std is not None
        inverse = (-policy.log_std).exp()
        scaled = (raw - out) * inverse
        square = scaled * scaled
        log = square.sum(-1).mul_(-0.5).sub_((policy.log_std + NORMAL).sum())
    ratio = log.sub_(before).exp_()
    free = ratio * gain
    held = ratio.clamp_(1 - how.clip, 1 + how.clip).mul_(gain)
    loss = loss - torch.minimum(free, held).sum() / total
    d_log = (free * (free <= held)).mul_(-1 / total)[:, None]  # d(r A)/d log π = r A where it is the lesser, else 0
    if policy.kind == "logits":
        mean_log = (shares * logs).sum(-1, keepdim=True)  # minus the entropy, whose slope is −p (log p + H)
        loss = loss + how.entropy / total * mean_log.sum()
        d_out = (logs.sub_(mean_log).mul_(how.entropy / total).sub_(d_log)).mul_(shares)
        return Found(loss, d_out.scatter_add_(1, raw[:, None], d_log), d_value, None)
    assert policy.log_std is not None
    part = how.entropy * len(out) / total
    loss = loss - part * (policy.log_std + NORMAL + 0.5).sum()
    d_log_std = (d_log * (square - 1)).sum(0) - part
    return Found(loss, d_log * scaled * inverse, d_value, d_log_std)

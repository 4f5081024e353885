"""`mdp/surrogate.py` row by row in machine code, on a CPU: some thirty small operations at once.

A test asks autograd for the same slopes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stalwart.drive.compiled import Array, Real, free_kernel, part, single
from stalwart.mdp.policies import Policy
from stalwart.mdp.surrogate import NORMAL, Found, Weighing

_ZERO, _HALF, _ONE, _TWO, _NORMAL = (single(x) for x in (0.0, 0.5, 1.0, 2.0, NORMAL))


def surrogate_of_rows(
    policy: Policy, out: Tensor, value: Tensor, raw: Tensor, before: Tensor, gain: Tensor, target: Tensor,
    rows: Tensor, moments: tuple[float, float], how: Weighing, total: int,
) -> Found:  # fmt: skip
    """As `surrogate.surrogate`, of chosen rows of a whole rollout.

    Args:
        raw, before, gain, target: of all steps; `rows`: (B,) those that `out` and `value` belong to.
        moments: mean and deviation by which A is normalised.
    """
    told = np.array([how.clip, how.value, how.entropy, moments[0], 1 / (moments[1] + 1e-8), 1 / total], np.float32)
    o, v, r, b, g, t, which = (part.numpy() for part in (out, value, raw, before, gain, target, rows))
    d_out, d_value, d_log_std = np.zeros_like(o), np.empty_like(v), None
    if not how.climbing:
        loss = _values(v, t, which, told, d_value)
    elif policy.log_std is None:
        loss = _logits(o, v, r, b, g, t, which, told, d_out, d_value)
    else:
        log_std = policy.log_std.detach().numpy()
        d_log_std = np.zeros_like(log_std)
        loss = _gaussian(o, v, r, b, g, t, which, log_std, told, d_out, d_value, d_log_std)
    third = None if d_log_std is None else torch.from_numpy(d_log_std)
    return Found(torch.tensor(loss, dtype=torch.float32), torch.from_numpy(d_out), torch.from_numpy(d_value), third)


@part
def _clipped(log_ratio: Real, gain: Real, clip: Real) -> tuple[Real, Real]:
    """min(r A, clip(r) A), and its slope by log r (equation 7)."""
    ratio = np.exp(log_ratio)
    free = ratio * gain
    held = min(max(ratio, _ONE - clip), _ONE + clip) * gain
    return (free, free) if free <= held else (held, _ZERO)


@free_kernel
def _values(value: Array, target: Array, rows: Array, told: Array, d_value: Array) -> Real:
    weight = told[1] * told[5]
    loss = 0.0
    for b in range(len(rows)):
        gap = value[b] - target[rows[b]]
        loss += weight * gap * gap
        d_value[b] = _TWO * weight * gap
    return loss


@free_kernel
def _gaussian(
    out: Array, value: Array, raw: Array, before: Array, gain: Array, target: Array, rows: Array, log_std: Array,
    told: Array, d_out: Array, d_value: Array, d_log_std: Array,
) -> Real:  # fmt: skip
    clip, _, bonus, mean, inverse, share = told
    dims = out.shape[1]
    deviation = np.exp(-log_std)
    whole = _ZERO
    for n in range(dims):
        whole += log_std[n] + _NORMAL
    loss = _values(value, target, rows, told, d_value)
    for n in range(dims):
        loss -= bonus * share * len(rows) * (log_std[n] + _NORMAL + _HALF)
        d_log_std[n] = -bonus * share * len(rows)
    for b in range(len(rows)):
        row = rows[b]
        square = _ZERO
        for n in range(dims):
            scaled = (raw[row, n] - out[b, n]) * deviation[n]
            square += scaled * scaled
        worth, slope = _clipped(-_HALF * square - whole - before[row], (gain[row] - mean) * inverse, clip)
        loss -= worth * share
        d_log = -slope * share
        for n in range(dims):
            scaled = (raw[row, n] - out[b, n]) * deviation[n]
            d_out[b, n] = d_log * scaled * deviation[n]
            d_log_std[n] += d_log * (scaled * scaled - _ONE)
    return loss


@free_kernel
def _logits(
    out: Array, value: Array, raw: Array, before: Array, gain: Array, target: Array, rows: Array,
    told: Array, d_out: Array, d_value: Array,
) -> Real:  # fmt: skip
    clip, _, bonus, mean, inverse, share = told
    actions = out.shape[1]
    loss = _values(value, target, rows, told, d_value)
    for b in range(len(rows)):
        row = rows[b]
        highest = out[b, 0]
        for n in range(1, actions):
            highest = max(highest, out[b, n])
        total = _ZERO
        for n in range(actions):
            total += np.exp(out[b, n] - highest)
        level = highest + np.log(total)
        entropy = _ZERO
        for n in range(actions):
            log = out[b, n] - level
            entropy -= np.exp(log) * log
        taken = raw[row]
        worth, slope = _clipped(out[b, taken] - level - before[row], (gain[row] - mean) * inverse, clip)
        loss -= (worth + bonus * entropy) * share
        d_log = -slope * share
        for n in range(actions):
            log = out[b, n] - level
            p = np.exp(log)
            d_out[b, n] = p * (bonus * share * (log + entropy) - d_log)
        d_out[b, taken] += d_log
    return loss

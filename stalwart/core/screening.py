"""Figures of a screening test: who is flagged, how surely, at which threshold."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stalwart.core.statistics import wilson

Z = 1.959963984540054


def auroc(negatives: Tensor, positives: Tensor) -> tuple[float, tuple[float, float]]:
    """P(a positive's score > a negative's) + P(equal) / 2, with a 95 % interval. NaN where either is empty.

    The interval is that of DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated
    receiver operating characteristic curves" (Biometrics 1988), from midranks as Sun and Xu (2014) compute it. Where
    the scores never overlap its variance is 0, which a few samples do not prove: there it is Wilson's, of as many
    samples as the smaller side has.
    """
    m, n = len(positives), len(negatives)
    if not m or not n:
        return math.nan, (0.0, 1.0)
    high, low = positives.double().cpu(), negatives.double().cpu()
    together = _midranks(torch.cat([high, low]))
    above = (together[:m] - _midranks(high)) / n  # (m,) the share of negatives below each positive
    below = 1 - (together[m:] - _midranks(low)) / m  # (n,) the share of positives above each negative
    value = float(above.mean())
    variance = (float(above.var()) / m if m > 1 else 0.0) + (float(below.var()) / n if n > 1 else 0.0)
    if variance < 1e-18:
        few = min(m, n)
        return value, wilson(round(value * few), few)
    spread = Z * math.sqrt(variance)
    return value, (max(0.0, value - spread), min(1.0, value + spread))


def _midranks(values: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing their mean."""
    distinct: tuple[Tensor, Tensor, Tensor] = torch.unique(values, return_inverse=True, return_counts=True)
    _, place, count = distinct
    return (count.cumsum(0).double() - (count.double() - 1) / 2)[place]


def roc(negatives: Tensor, positives: Tensor, points: int = 101) -> list[tuple[float, float]]:
    """(false positive rate, true positive rate) at thresholds from the highest score down, thinned to `points`."""
    levels: Tensor = torch.unique(torch.cat([negatives, positives]).double()).flip(0)
    low, high = (side.double().sort().values for side in (negatives, positives))
    alarms = [
        (1 - torch.searchsorted(side.contiguous(), levels, right=False).double() / len(side)).tolist()
        for side in (low, high)
    ]
    curve = [(0.0, 0.0), *zip(*alarms, strict=True)]
    if len(curve) > points:
        curve = [curve[round(i * (len(curve) - 1) / (points - 1))] for i in range(points)]
    return curve


def conformal(scores: Tensor, alpha: float) -> float:
    """The threshold above which at most a share `alpha` of images like these is flagged, whatever their distribution.

    Split conformal prediction (Papadopoulos et al. 2002; Vovk, Gammerman and Shafer 2005): with n scores of clean
    images that were not fitted to, the ⌈(n + 1)(1 − α)⌉-th smallest. A new image of the same kind is above it with
    probability α at most, over the draw of the n and of the image. Infinity, which flags nothing, where n < 1/α − 1:
    so few images say nothing of so rare an event.
    """
    n = len(scores)
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    return math.inf if rank > n else float(scores.sort().values[rank - 1])


def needed(alpha: float) -> int:
    """The fewest images that a conformal threshold at `alpha` takes."""
    return math.ceil(1 / alpha - 1e-9) - 1


def flagged(scores: Tensor, threshold: float) -> dict[str, Any]:
    """How many scores are above the threshold: the share, its Wilson interval, n."""
    count, n = int((scores > threshold).sum()), len(scores)
    return {"share": count / n if n else None, "interval": wilson(count, n), "n": n}


def spread(scores: Tensor) -> float:
    """The scale of scores, in which an attacker weighs them against a loss: their middle four fifths, as σ."""
    low, high = torch.quantile(scores.double(), torch.tensor([0.1, 0.9], dtype=torch.float64, device=scores.device))
    return max(float(high - low) / 2.5631, 1e-6)

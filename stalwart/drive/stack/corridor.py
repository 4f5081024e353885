"""What lies in the way: points against the route's corridor, and a gap followed over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
FAR_M = 1e3
HALF_WIDTH_M = 1.15
"""Of the corridor that the car sweeps: a car's half width and some room."""
_BEYOND_M = 60.0


def along(path: Floats, points: Floats) -> tuple[Floats, Floats]:
    """(W, N) arc length along a path (W, P, 2) to the foot of each point (W, N, 2), and the distance from it, m.

    The path goes straight on for 60 m behind its last point.
    """
    last = path[:, -1] - path[:, -2]
    last = last / np.maximum(np.linalg.norm(last, axis=-1, keepdims=True), 1e-3)
    knots = np.concatenate([path, (path[:, -1] + _BEYOND_M * last)[:, None]], 1).astype(np.float64)
    steps = np.diff(knots, axis=1)  # (W, P, 2)
    length = np.maximum(np.linalg.norm(steps, axis=-1), 1e-3)
    upto = np.cumsum(length, 1) - length
    to = points[:, :, None] - knots[:, None, :-1]
    share = np.clip((to * steps[:, None]).sum(-1) / length[:, None] ** 2, 0, 1)
    away = np.linalg.norm(to - share[..., None] * steps[:, None], axis=-1)
    best = away.argmin(-1)[..., None]
    s = np.take_along_axis(upto[:, None] + share * length[:, None], best, -1)[..., 0]
    return s, np.take_along_axis(away, best, -1)[..., 0]


def gap_of(path: Floats, points: Floats, valid: NDArray[np.bool_], front_m: float, least: int = 1) -> Floats:
    """(W,) metres from the front bumper to the nearest points in the corridor; `FAR_M` where there are none.

    Args:
        valid: (W, N) which points count.
        front_m: from the car's middle to its bumper.
        least: so many points must lie within a metre of the gap's end; fewer are taken for noise.
    """
    s, away = along(path, points)
    inside = valid & (away < HALF_WIDTH_M) & (s > front_m * 0.5)
    s = np.sort(np.where(inside, s, np.inf), -1)
    if s.shape[1] < least:
        return np.full(len(s), FAR_M)
    first, other = s[:, : s.shape[1] - least + 1], s[:, least - 1 :]
    with np.errstate(invalid="ignore"):
        near = np.where(other - first < 1.0, first, np.inf).min(-1)
    return np.where(np.isfinite(near), np.maximum(near - front_m, 0.0), FAR_M)


GAP, RATE, UNSEEN, SEEN = range(4)
REMEMBERED = 4
"""Numbers that `followed` keeps for each world; all 0 is a fresh one."""


def followed(
    kept: Floats, measured: Floats, speed_mps: Floats, dt_s: float, patience: int = 4
) -> tuple[Floats, Floats, Floats]:
    """A gap and the speed of its far end, filtered over time (alpha-beta filter).

    What is not seen for more than `patience` steps is gone; until then it moves on as foreseen. One step alone is no
    body.

    Args:
        kept: (W, 4) what was returned in the step before.
        measured: (W,) m, `FAR_M` where nothing is seen.

    Returns:
        (W,) gap in m and (W,) speed of the body in front in m/s, at least 0 (`FAR_M` and the own speed where none is),
        and (W, 4) what to keep.
    """
    known, there = kept[:, SEEN] > 0, measured < FAR_M
    foreseen = kept[:, GAP] + kept[:, RATE] * dt_s
    # Another body than the one foreseen, as when one cuts in or the old one was a phantom, is begun anew.
    fresh = there & (~known | (np.abs(measured - foreseen) > np.maximum(4.0, 0.35 * foreseen)))
    off = np.where(there & ~fresh, measured - foreseen, 0.0)
    gap = np.where(fresh, measured, np.maximum(foreseen + 0.5 * off, 0.0))
    rate = np.where(fresh, -speed_mps, kept[:, RATE] + 0.12 * off / dt_s)  # until known better, it stands
    unseen = np.where(there, 0.0, kept[:, UNSEEN] + 1)
    seen = np.where(fresh, 1.0, kept[:, SEEN] + there)
    gone = (unseen > patience) | ~(known | there)
    now = np.where(gone[:, None], 0.0, np.stack([gap, rate, unseen, seen], 1))
    sure = now[:, SEEN] >= 2
    ahead = np.where(sure, np.maximum(speed_mps + now[:, RATE], 0.0), speed_mps)
    return np.where(sure, now[:, GAP], FAR_M), ahead, now

"""DeepFool: over and over to the nearest of the boundaries as they look from where one stands."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import losses
from stalwart.core.component import at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import Nearest, Record, draw_in, exponent, look
from stalwart.core.planes import reach
from stalwart.core.rng import Noise


@component
class deepfool:
    """Steps to the nearest boundary of the model made linear, until one is crossed. Under L1, L2 and L∞.

    Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate method to fool deep neural networks"
    (CVPR 2016), algorithm 2, and section 3.3 for other norms: to the rival k of least |f_k| / ‖w_k‖_q. Two things are
    not the paper's: a step goes to the nearest point of the plane that lies in [0, 1], where the paper leaves the box,
    and the last image is drawn in along its line to the boundary.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    steps: Annotated[int, at_least(1)] = 50
    """Steps at most; most samples need two to four."""
    rivals: Annotated[int, at_least(1)] = 9
    """Nearest rival classes to choose among."""
    overshoot: Annotated[float, at_least(0)] = 0.02
    """How far past the boundary the whole change is lengthened, as a share of it (the paper's η)."""
    looks: Annotated[int, at_least(0)] = 3
    """Forward passes for the last pull inwards."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "deepfool", (1, 2, math.inf))
        record, nearest = Record(clean, p), Nearest(p, self.rivals)
        live = torch.arange(len(clean), device=clean.device)
        origin, aim = clean, goal
        record.behind, gap, slope, _ = look(clean, goal, "deepfool", nearest)
        record.offer(clean, record.behind, live)
        total = reach(clean, slope, -gap, p)
        stuck = (total.flatten(1).abs().amax(1) == 0) | (record.behind > 0)
        for step in range(1, self.steps + 1):
            x = (origin + total * (1 + self.overshoot)).clamp_(0, 1).requires_grad_(step < self.steps)
            rows: Tensor | None = None
            with torch.set_grad_enabled(step < self.steps):
                gaps = losses.gaps_of(aim(x), "deepfool")
                margin = losses.margin(gaps).detach()
                record.offer(x.detach(), margin, live)
                keep = ((margin <= 0) & ~stuck).nonzero().squeeze(1)
                if step == self.steps or not len(keep):
                    break
                if len(keep) < len(live):
                    live, origin, aim, total = live[keep], origin[keep], aim.select(keep), total[keep]
                    nearest.keep(keep)
                    if len(keep) < len(x) / 2:  # a pass of the few alone is cheaper than the backward pass of all
                        x = x.detach()[keep].requires_grad_()
                        gaps = losses.gaps_of(aim(x), "deepfool")
                    else:
                        rows, gaps = keep, gaps[keep]
                gap, slope = nearest(gaps, x, rows)
            here = x.detach() if rows is None else x.detach()[rows]
            moved = reach(here, slope, -gap, p)
            stuck = moved.flatten(1).abs().amax(1) == 0  # no slope, or no room: it stays where it is
            total = total + moved
        draw_in(record, goal, "deepfool", self.looks)
        return record.images

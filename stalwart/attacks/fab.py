"""Fast adaptive boundary attack: along the boundary, ever nearer to the clean image."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls, losses
from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import Nearest, Record, draw_in, exponent, look
from stalwart.core.planes import reach
from stalwart.core.rng import Noise

STRETCH = 1.5
"""How much further out than the smallest success at most an ensemble's judge is shown one that it did not take."""


@component
class fab:
    """Projects onto the boundary made linear, drawn towards the point of it that is nearest to the clean image.

    Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack" (ICML 2020),
    algorithm 1, under L1, L2 and L∞: with π the nearest point of the linear boundary within the box,
    x ← (1 − α) (x + η δ) + α (clean + η δ'), δ = π(x) − x, δ' = π(clean) − clean, α = min(‖δ‖ / (‖δ‖ + ‖δ'‖), α_max);
    after a success x ← clean + β (x − clean). Nothing in it depends on the scale of the logits. Three things are done
    otherwise, to be sparing:
    - The slope of the nearest rival's boundary alone is taken, and not that of every rival (`core/least.py`).
    - After a success the boundary stays the one that was seen there, and is not looked for again at the point drawn
      back by β: a step costs one pass and not two, and the changes found are as small.
    - The last image is drawn in along its line to the boundary by false position in place of bisection.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    steps: Annotated[int, at_least(1)] = 100
    """Steps of each run; one more forward and backward pass than these."""
    restarts: Annotated[int, at_least(1)] = 1
    """Runs; the first begins at the clean image, the others at random around it, at half the smallest change so far."""
    targets: Annotated[int, at_least(0)] = 0
    """Runs towards the boundary of each sample's so many nearest rivals, one after the other, in place of runs towards
    any; 9 is AutoAttack's FAB-T."""
    rivals: Annotated[int, at_least(1)] = 9
    """Nearest rival classes to choose among, where `targets` is 0."""
    alpha: Annotated[float, between(0, 1)] = 0.1
    """α_max: how far a step may be drawn towards the clean image's own projection."""
    eta: Annotated[float, at_least(1)] = 1.05
    """η: overshoot past the linear boundary."""
    beta: Annotated[float, between(0, 1)] = 0.9
    """β: the share of the change that is kept after a success."""
    looks: Annotated[int, at_least(0)] = 3
    """Forward passes for the last pull inwards."""
    within: bool = False
    """Let a sample go as soon as a success lies within ε, and pull none inwards: for ensembles, which need none."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "fab", (1, 2, math.inf))
        enough = threat.epsilon * (1 - 1e-5) if self.within else 0.0
        record = Record(clean, p)
        columns: Tensor | None = None
        if self.targets:
            with torch.no_grad():
                columns = losses.rivals(losses.gaps_of(goal(clean), "fab"), self.targets)
        runs = [(r, t) for r in range(self.restarts) for t in range(1 if columns is None else columns.shape[1])]
        live = torch.arange(len(clean), device=clean.device)
        for restart, rank in runs:
            own = None if columns is None else columns[live, rank : rank + 1]
            begin = clean[live]
            if restart:
                begin = _around(record, threat, noise.fork("fab", restart, rank).select(live), live)
            live = self._run(record, goal, live, begin, Nearest(p, self.rivals, own), enough)
            if not len(live):
                break
        if not self.within:
            draw_in(record, goal, "fab", self.looks)
            return record.images
        # What rounding has undone so near the boundary stands further out.
        size = record.size[live]
        further = torch.where(size <= enough, (enough / size.clamp_min(balls.TINY)).clamp_max(STRETCH), 1.0)
        record.images[live] = clean[live] + (record.images[live] - clean[live]) * balls.each(further, clean)
        return record.images.clamp_(0, 1)

    def _run(self, record: Record, goal: Goal, live: Tensor, x: Tensor, nearest: Nearest, enough: float) -> Tensor:
        """One run of the samples at `live` (b,) from `x` (b, C, H, W). Returns those to go on with."""
        p, origin = record.p, record.clean[live]
        aim = goal if len(live) == len(record.clean) else goal.select(live)
        for step in range(self.steps + 1):
            margin, gap, slope, reached = look(x, aim, "fab", nearest)
            if not step and torch.equal(x, origin):
                record.behind[live] = margin
            record.offer(x, margin, live)
            # An ensemble's judge rounds: what it does not take is gone on with, though it lies within ε.
            keep = (~reached | (record.size[live] > enough)).nonzero().squeeze(1)
            if step == self.steps or not len(keep):
                break
            if len(keep) < len(live):
                live, origin, aim = live[keep], origin[keep], aim.select(keep)
                x, margin, gap, slope = x[keep], margin[keep], gap[keep], slope[keep]
                nearest.keep(keep)
            # The plane ⟨slope, z − x⟩ = −gap, as it looks from the point drawn back and from the clean image.
            drawn = origin + (x - origin) * balls.each(torch.where(margin > 0, self.beta, 1.0), x)
            lacking = torch.cat([_inner(x - drawn, slope), _inner(x - origin, slope)]) - gap.repeat(2)
            both = reach(torch.cat([drawn, origin]), slope.repeat(2, 1, 1, 1), lacking, p)
            onto, direct = both.chunk(2)
            far, near = balls.norm(onto, p), balls.norm(direct, p)
            share = balls.each((far / (far + near).clamp_min(balls.TINY)).clamp_max(self.alpha), x)
            x = (1 - share) * (drawn + self.eta * onto) + share * (origin + self.eta * direct)
            x = x.clamp_(0, 1)
        return live[keep]


def _inner(shift: Tensor, slope: Tensor) -> Tensor:
    return (shift * slope).flatten(1).sum(1)


def _around(record: Record, threat: Threat, noise: Noise, live: Tensor) -> Tensor:
    """A random direction, of half the smallest change so far or of half of ε if that is less."""
    clean = record.clean[live]
    radius = record.size[live].clamp_max(threat.epsilon) / 2
    shape = clean.shape[1:]
    drawn = (noise.uniform(shape, -1, 1) if record.p == math.inf else noise.normal(shape)).to(clean.dtype)
    return (clean + drawn * balls.each(radius / balls.norm(drawn, record.p), clean)).clamp_(0, 1)

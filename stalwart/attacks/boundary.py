"""Boundary attack: a random walk along the decision boundary, ever nearer to the clean image."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import exponent
from stalwart.core.queries import Asker, begin, firm, pull
from stalwart.core.rng import Noise

EVERY = 5
"""So many steps from one look at a sideways move alone to the next."""
SIDEWAYS, INWARDS = 10, 20
"""Sideways moves and whole steps that a success rate is taken over."""
CHANGE = 1.5
"""Factor by which step lengths grow and shrink, as in the authors' implementation."""
SMALLEST = 1e-7
"""A sample whose steps inwards are shorter than this share of its change has come as far as it can."""


@component
class boundary:
    """The smallest change by decisions alone, by many small steps to the side and a little inwards. L2.

    Brendel, Rauber and Bethge, "Decision-based adversarial attacks: reliable attacks against black-box machine learning
    models" (ICLR 2018), section 2: a random move on the sphere around the clean image, of length δ ‖x − clean‖, then
    one inwards by a share ε, kept where the goal is still reached. Each sample finds its own δ and ε by its own rates
    of success (section 2.3). It is older and slower than `hopskipjump`; the paper spends hundreds of thousands of
    queries. It begins at random images, as `hopskipjump` does.
    """

    least: ClassVar[bool] = True
    """It looks for the smallest change."""

    queries: Annotated[int, at_least(1)] = 5000
    """Forward passes of each image at most."""
    sideways: Annotated[float, above(0)] = 0.1
    """δ at first, a share of the change."""
    inwards: Annotated[float, above(0)] = 0.01
    """ε at first, a share of the change."""
    tries: Annotated[int, at_least(1)] = 101
    """Random images that are tried as a beginning."""

    @torch.no_grad()
    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "boundary", (2,))
        asker, own = Asker(goal, len(clean), "boundary"), noise.fork("boundary")
        result, found, spent = begin(clean, asker, own, min(self.tries, self.queries))
        looks = 10
        live = begun = (found & (spent + looks + 1 <= self.queries)).nonzero().squeeze(1)
        result[live] = pull(result[live], clean[live], asker, live, p, looks)
        spent[live] += looks + 1  # the last query of each, for `firm`, is set aside
        walk = _Walk(live, result[live], clean[live], self.queries - spent[live], self.sideways, self.inwards)
        step = 0
        while len(walk.place):
            look = step % EVERY == 0
            walk.step(asker, own.fork("step", step).select(walk.place), look)
            going = (walk.room >= 2) & (walk.inwards > SMALLEST)
            if not bool(going.all()):
                result[walk.place[~going]] = walk.x[~going]
                walk.keep(going.nonzero().squeeze(1))
            step += 1
        result[begun] = firm(result[begun], clean[begun], asker, begun)
        return result


class _Walk:
    """The walks of those samples that are still going. `room`: queries that each has left."""

    def __init__(self, place: Tensor, x: Tensor, clean: Tensor, room: Tensor, sideways: float, inwards: float) -> None:
        self.place, self.x, self.clean, self.room = place, x, clean, room
        far = torch.ones_like(x[:, 0, 0, 0])
        self.sideways, self.inwards = far * sideways, far * inwards
        none = torch.zeros_like(far)
        self.looks, self.held, self.steps, self.won = none, none, none, none

    def keep(self, index: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[index])

    def step(self, asker: Asker, noise: Noise, look: bool) -> None:
        shift = self.x - self.clean
        far = balls.norm(shift, 2)
        aside = noise.normal(shift.shape[1:]).to(shift.dtype)
        along = (aside * shift).flatten(1).sum(1) / far.square().clamp_min(balls.TINY)
        aside = aside - shift * balls.each(along, shift)  # at right angles to the change
        length = self.sideways * far / balls.norm(aside, 2).clamp_min(balls.TINY)
        turned = (shift + aside * balls.each(length, shift)) * balls.each(
            1 / (1 + self.sideways.square()).sqrt(), shift
        )
        beside = (self.clean + turned).clamp(0, 1)
        turned = beside - self.clean  # the box may have shortened it
        wanted = far * (1 - self.inwards).clamp_min(0)
        shrink = (wanted / balls.norm(turned, 2).clamp_min(balls.TINY)).clamp_max(1)
        trial = self.clean + turned * balls.each(shrink, turned)
        versions = torch.stack([trial, beside], 1) if look else trial[:, None]
        reached = asker.reached(versions, self.place)  # (b, 1 or 2)
        self.room = self.room - versions.shape[1]
        won = reached[:, 0] & (balls.norm(trial - self.clean, 2) < far)
        self.x = torch.where(balls.each(won, trial), trial, self.x)
        self.steps, self.won = self.steps + 1, self.won + won
        if look:
            self.looks, self.held = self.looks + 1, self.held + reached[:, 1]
        self._adapt()

    def _adapt(self) -> None:
        """Half of the moves to the side should hold, as a boundary that looks straight from near lets them; and some
        of the steps inwards."""
        full = self.looks >= SIDEWAYS
        rate = self.held / self.looks.clamp_min(1)
        factor = torch.where(rate > 0.5, CHANGE, torch.where(rate < 0.2, 1 / CHANGE, 1.0))
        self.sideways = torch.where(full, self.sideways * factor, self.sideways)
        self.inwards = torch.where(full, self.inwards * factor, self.inwards)
        self.looks, self.held = torch.where(full, 0.0, self.looks), torch.where(full, 0.0, self.held)
        full = self.steps >= INWARDS
        rate = self.won / self.steps.clamp_min(1)
        factor = torch.where(rate > 0.25, CHANGE, torch.where(rate < 0.1, 1 / CHANGE, 1.0))
        self.inwards = torch.where(full, self.inwards * factor, self.inwards).clamp_max(0.5)
        self.steps, self.won = torch.where(full, 0.0, self.steps), torch.where(full, 0.0, self.won)

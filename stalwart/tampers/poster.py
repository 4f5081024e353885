"""A printed picture, hung up once and driven past."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch

from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Attack, Tamper
from stalwart.core.rng import generator
from stalwart.drive.adversaries.aims import Aim
from stalwart.drive.adversaries.posters import Hung, Where, film, printed
from stalwart.drive.adversaries.subject import Subject


@component
class poster:
    """A picture on the back of the car ahead, on the road before it, or on a board beside it; optimised through the
    renderer on maps of the train split over the distances, angles and styles of light met there (Brown et al. 2017;
    Athalye et al. 2018), then simply driven past.
    """

    where: Where = "back"
    """'back', 'road' or 'board'."""
    picture: Literal["fitted", "grey", "random"] = "fitted"
    """What is printed: 'grey' and 'random' (coarse squares of random colours) are controls."""
    aim: Aim = "vanish"
    """See `drive.adversaries.aims.wanted`."""
    width_m: Annotated[float, above(0)] = 1.7
    """On the back of a car; on the road and on boards sizes are given."""
    height_m: Annotated[float, above(0)] = 1.4
    """Likewise."""
    attack: Attack = "pgd(steps=60, step=0.03, random_start=False)"  # type: ignore[assignment]
    """Climbs in the picture's texels; its ε is 1."""
    quiet: Annotated[float, at_least(0)] = 0.0
    """How much an attacker who knows of the guard 'input' shuns it."""

    def against(self, subject: Subject, seed: int) -> Any:
        grey = torch.full((3, 64, 64), 0.5)
        size = (self.width_m, self.height_m)
        if self.picture == "grey":
            return Hung(grey, self.where, size)
        if self.picture == "random":
            squares = torch.rand(1, 3, 8, 8, generator=generator(seed, "random poster"))
            return Hung(torch.nn.functional.interpolate(squares, 64, mode="nearest")[0], self.where, size)
        filmed = film(subject.policy, subject.stages(), Hung(grey, self.where, size))
        found = printed(subject.policy, filmed, self.attack, self.aim, seed, quiet=self.quiet)
        return Hung(found, self.where, size)

    def controls(self) -> dict[str, Tamper]:
        if self.picture != "fitted":
            return {}
        plain: dict[str, Tamper] = {
            f"{picture} poster": poster(self.where, picture, width_m=self.width_m, height_m=self.height_m)
            for picture in ("grey", "random")
        }
        return plain

"""Rotations, shifts, zooms and smooth distortions of the image."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stalwart.core import warping
from stalwart.core.boxed import Boxed
from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Threat
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise


@component
class spatial:
    """The image turned, shifted, zoomed and bent, each within its bound; no pixel changes its colour.

    Engstrom et al., "Exploring the landscape of spatial robustness" (ICML 2019), section 3: rotations to 30° and shifts
    to a tenth of the side, beyond the edge black. The smooth distortion is the flow of Xiao et al., "Spatially
    transformed adversarial examples" (ICLR 2018), with its smoothness built in: it is given on a coarse grid and
    interpolated between.

    A rendered threat: θ holds each transformation as a share of its bound, 1/2 for none. The loss has many small hills
    along a rotation, so a gradient from one start finds little: use restarts (`pgd(restarts=10)`) or random search
    (`square(queries=500)`), as the paper's grid search does.
    """

    rotation: Annotated[float, between(0, 180)] = 30.0
    """Degrees at most, either way."""
    translation: Annotated[float, between(0, 1)] = 0.1
    """Shift at most, either way, as a share of the width and of the height; 3/32 is three pixels of CIFAR-10."""
    scale: Annotated[float, at_least(0)] = 0.0
    """Zoom at most: 0.1 makes things 1.1 times as large or as small."""
    elastic: Annotated[float, between(0, 1)] = 0.0
    """How far a point of the grid may move, either way, as a share of the shorter side."""
    grid: Annotated[int, at_least(2)] = 4
    """Points of the smooth distortion's grid along each side."""
    outside: Literal["black", "edge", "mirror"] = "black"
    """What comes in from beyond the edge: black, the edge drawn out, or the image mirrored."""
    epsilon: Annotated[float, between(0, 1)] = 1.0
    """The share of each bound that is allowed: 1 is all of it."""

    def __post_init__(self) -> None:
        if not any((self.rotation, self.translation, self.scale, self.elastic)):
            raise InputError("spatial needs a bound above 0: rotation, translation, scale or elastic. Got none.")

    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        count = sum(width for _, width in self._parts())
        # One row: what attacks do to neighbours, such as a square of one colour, then touches one transformation.
        return torch.full((len(clean), 1, 1, count), 0.5, device=clean.device, dtype=clean.dtype)

    def within(self) -> Threat:
        return Boxed(self.epsilon / 2)

    def size(self, theta: Tensor, neutral: Tensor) -> Tensor:
        """The largest share of its bound that any transformation takes."""
        return 2 * (theta - neutral).abs().flatten(1).amax(1)

    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        share = 2 * theta.flatten(1) - 1  # (B, D) in [-1, 1]
        names, widths = zip(*self._parts(), strict=True)
        taken = dict(zip(names, torch.split(share, list(widths), 1), strict=True))
        height, width = clean.shape[-2:]
        # Where each pixel of the picture comes from, so every step is the inverse of what is seen, the last one first.
        where = warping.places(clean).expand(len(clean), height, width, 2)
        if "translation" in taken:
            sides = torch.tensor([width, height], device=clean.device, dtype=clean.dtype)
            where = where - (taken["translation"] * self.translation * sides)[:, None, None]
        if "rotation" in taken:
            where = where @ warping.turn(taken["rotation"].squeeze(1) * math.radians(self.rotation))[:, None]
        if "scale" in taken:
            where = where * torch.exp(-taken["scale"] * math.log1p(self.scale))[:, None, None]
        if "elastic" in taken:
            reach = self.elastic * min(height, width)
            moves = taken["elastic"].view(-1, 2, self.grid, self.grid) * reach
            flow = F.interpolate(moves, (height, width), mode="bicubic", align_corners=True)
            where = where - flow.permute(0, 2, 3, 1)
        return warping.sample(clean, where, self.outside).clamp(0, 1)

    def _parts(self) -> list[tuple[str, int]]:
        """The transformations that are allowed and how many numbers each takes."""
        widths = {"rotation": 1, "translation": 2, "scale": 1, "elastic": 2 * self.grid**2}
        return [(name, width) for name, width in widths.items() if getattr(self, name) > 0]

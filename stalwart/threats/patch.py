"""A patch: one connected part of the picture becomes anything, the rest stays."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from stalwart.core import warping
from stalwart.core.boxed import Boxed
from stalwart.core.component import between, component
from stalwart.core.contracts import Threat
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

Share = Annotated[float, between(0, 1)]


@dataclass(frozen=True)
class _Pose:
    """How the patch comes to lie on each picture."""

    middle: Tensor
    """(B, 2) its middle, (x, y) in pixels from the picture's."""
    angle: Tensor
    """(B,) radians."""
    zoom: Tensor
    """(B,) its size as a share of the full one."""
    light: Tensor
    """(B,) the factor on its brightness."""


@component
class patch:
    """A square or a disc of the picture may hold any colours.

    Brown et al., "Adversarial patch" (2017). Under most attacks each picture gets its own patch; under `universal` it
    is one patch for all, which must work wherever and however it comes to lie: give it a random place, rotation, scale
    and brightness, and it is sought in expectation over them (Athalye et al., "Synthesizing robust adversarial
    examples", ICML 2018) and judged on draws of its own.

    A rendered threat: θ is the patch. Its place and the rest are drawn for each picture from the picture itself, so
    every attack meets the same.
    """

    epsilon: Share = 0.05
    """The patch's share of the picture's area, which the size is too: smaller radii of a sweep are smaller patches."""
    place: Literal["random", "corner", "centre"] | tuple[Share, Share] = "random"
    """Where: at random in each picture, the upper left corner, the centre, or the middle's (height, width) as shares,
    such as (0.25, 0.5); moved inwards as far as the patch needs to fit."""
    shape: Literal["square", "circle"] = "square"
    """Its outline."""
    rotation: Annotated[float, between(0, 180)] = 0.0
    """Degrees at most by which chance turns it, either way."""
    scale: Annotated[float, between(0, 0.9)] = 0.0
    """By how much chance makes it smaller at most: 0.5 to half its width."""
    brightness: Annotated[float, between(0, 0.9)] = 0.0
    """By how much chance makes it darker or brighter at most."""

    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        """(B, C, h, w) what the picture shows where the patch comes to lie."""
        height, width = self._sides(clean)
        pose = self._pose(clean, noise)
        grid = warping.places(clean.new_empty(height, width)) * pose.zoom[:, None, None, None]
        where = grid @ warping.turn(-pose.angle)[:, None] + pose.middle[:, None, None]
        return (warping.sample(clean, where, "edge") / pose.light[:, None, None, None]).clamp(0, 1)

    def within(self) -> Threat:
        return Boxed(1.0 if self.epsilon > 0 else 0.0)

    def size(self, theta: Tensor, neutral: Tensor) -> Tensor:
        """The patch's share of the area where anything in it changed."""
        return (theta != neutral).flatten(1).any(1).to(theta.dtype) * self.epsilon

    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        height, width = theta.shape[-2:]
        pose = self._pose(clean, noise)
        away = warping.places(clean) - pose.middle[:, None, None]  # (B, H, W, 2)
        within = away @ warping.turn(pose.angle)[:, None] / pose.zoom[:, None, None, None]  # in the patch's own pixels
        x, y = within.unbind(-1)
        if self.shape == "circle":
            inside = x.square() + y.square() <= _reach(height, self._pixels(clean))
        else:
            inside = (x.abs() <= width / 2) & (y.abs() <= height / 2)
        if self._pixels(clean) < 1:
            return clean + 0 * theta.sum()  # smaller than a pixel: there is none, but there is a graph
        seen = (warping.sample(theta, within, "edge") * pose.light[:, None, None, None]).clamp(0, 1)
        return torch.where(inside[:, None], seen, clean)

    def _pixels(self, clean: Tensor) -> int:
        return int(self.epsilon * clean.shape[-2] * clean.shape[-1] + 1e-6)

    def _sides(self, clean: Tensor) -> tuple[int, int]:
        """The patch's height and width in pixels; where a square is too high or wide it is a rectangle as large."""
        height, width = clean.shape[-2:]
        pixels = max(self._pixels(clean), 1)
        if self.shape == "circle":
            side = math.ceil(2 * math.sqrt(pixels / math.pi) - 1e-6)
            if side > min(height, width):
                raise InputError(
                    f"{self!r} is a disc of {side} pixels across and must fit into the image. Got {height} × {width}."
                )
            return side, side
        side = math.isqrt(pixels)
        if side > height:
            return height, min(pixels // height, width)
        return (side, side) if side <= width else (min(pixels // width, height), width)

    def _pose(self, clean: Tensor, noise: Noise) -> _Pose:
        drawn = noise.uniform((5,)).to(clean.dtype)  # always all, so that one setting does not change another's draw
        sides = torch.tensor([clean.shape[-1], clean.shape[-2]], device=clean.device, dtype=clean.dtype)
        height, width = self._sides(clean)
        own = torch.tensor([width, height], device=clean.device, dtype=clean.dtype)
        room = sides - own  # (x, y) whole pixels
        if self.place == "random":
            corner = (drawn[:, :2] * (room + 1)).floor().minimum(room)
        elif self.place == "corner":
            corner = torch.zeros_like(drawn[:, :2])
        else:
            down, right = (0.5, 0.5) if self.place == "centre" else self.place
            middle = sides * torch.tensor([right, down], device=clean.device, dtype=clean.dtype)
            corner = (middle - own / 2).round().clamp_min(0).minimum(room).expand(len(clean), 2)
        return _Pose(
            corner + own / 2 - sides / 2,
            (2 * drawn[:, 2] - 1) * math.radians(self.rotation),
            1 - drawn[:, 3] * self.scale,
            1 + (2 * drawn[:, 4] - 1) * self.brightness,
        )


@functools.cache
def _reach(side: int, pixels: int) -> float:
    """The squared radius of the largest disc within `side` pixels that covers no more than so many."""
    at = [(k - (side - 1) / 2) ** 2 for k in range(side)]
    squares = sorted(x + y for x in at for y in at)
    whole = [n for n in range(1, len(squares)) if squares[n - 1] < squares[n]]  # all pixels of one distance or none
    most = max((n for n in [*whole, len(squares)] if n <= pixels), default=0)
    return squares[most - 1] + 1e-4 if most else -1.0

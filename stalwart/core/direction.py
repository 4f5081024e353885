"""Where an ascent looks and which way it then goes: what makes its images fool models that it has never asked.

Three published ideas that the literature uses together, each here once; the attacks are named combinations of them:
momentum, with Nesterov's look ahead or without (MI, NI), another size and place for each look (DI), and the slope
averaged over shifts (TI). A resize, a shift and a blur are linear in the rows and in the columns alike, so each is two
small matrices, which serve images of any shape and number of channels, and each sample its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.contracts import Threat
from stalwart.core.rng import Noise


@dataclass(frozen=True)
class Habit:
    """How an ascent looks and goes; each start has a `Direction` of its own."""

    momentum: float = 0.0
    """μ: g ← μ g + ∇ / mean |∇|, and steps are along g; 0: along the slope of the moment."""
    ahead: bool = False
    """Look at x + α μ g, where the momentum is about to carry it."""
    diversity: float = 0.0
    """The probability that an image is shown smaller, at a random size and place, on black."""
    smallest: float = 0.9
    """The least size that it is shown at then, as a share of its own."""
    kernel: int = 1
    """Width in pixels of the Gaussian that the slope is averaged by; 1: not at all."""


class Direction:
    """The habit at work on one start's batch.

    Args:
        noise: numbers of the batch's samples.
        reach: a step's length in the threat's units, for the look ahead.
    """

    def __init__(self, habit: Habit, threat: Threat, noise: Noise, reach: float) -> None:
        self.habit, self.threat, self.noise, self.reach = habit, threat, noise, reach
        self.gathered: Tensor | None = None  # (B, C, H, W) g

    @property
    def looks_elsewhere(self) -> bool:
        """Whether the model is shown other images than those that the ascent stands at."""
        return self.habit.diversity > 0 or self.habit.ahead

    def keep(self, index: Tensor) -> None:
        """Go on with the samples at `index` alone."""
        self.noise = self.noise.select(index)
        self.gathered = None if self.gathered is None else self.gathered[index]

    def view(self, x: Tensor) -> Tensor:
        """What the model is shown for x (B, C, H, W); differentiable."""
        if self.habit.ahead and self.gathered is not None:
            length = self.reach * self.habit.momentum
            if getattr(self.threat, "p", None) == math.inf:
                x = x + length * self.gathered
            else:  # g has a mean of 1, which is a length under L∞ alone
                x = x + (self.threat.ascend(x, self.gathered, length) - x).detach()
        if self.habit.diversity:
            rows, columns = placed(x.shape[2:], self.habit.smallest, self.habit.diversity, self.noise)
            x = rows[:, None].to(x.dtype) @ x @ columns[:, None].to(x.dtype).mT
        return x

    def turn(self, gradient: Tensor) -> Tensor:
        """The way to go (B, C, H, W), from the slope of the moment."""
        if self.habit.kernel > 1:
            rows, columns = (_blur(length, self.habit.kernel, gradient) for length in gradient.shape[2:])
            gradient = rows @ gradient @ columns.mT
        if not self.habit.momentum:
            return gradient
        # By the largest entry first: the mean of very small slopes would underflow in float32.
        scaled = gradient / balls.each(gradient.abs().flatten(1).amax(1).clamp_min(balls.TINY), gradient)
        scaled = scaled / balls.each(scaled.abs().flatten(1).mean(1).clamp_min(balls.TINY), gradient)
        self.gathered = scaled if self.gathered is None else scaled + self.habit.momentum * self.gathered
        return self.gathered


def placed(size: torch.Size, smallest: float, probability: float, noise: Noise) -> tuple[Tensor, Tensor]:
    """Matrices of a random smaller size and place: rows (B, H, H) and columns (B, W, W); the view is R x Cᵀ.

    Both sides shrink by the same share, drawn for each sample from [smallest, 1); the rest is black. With 1 −
    `probability` they are the identity.
    """
    share = noise.uniform((), smallest, 1.0)
    place = noise.uniform((2,))
    whole = noise.uniform() >= probability
    matrices = []
    for side, length in enumerate(size):
        small = (share * length).floor().clamp_min(1)
        offset = (place[:, side] * (length - small + 1)).floor()
        matrix = _resize(length, small, offset)
        matrices.append(torch.where(whole[:, None, None], torch.eye(length, device=matrix.device), matrix))
    return matrices[0], matrices[1]


def _resize(length: int, small: Tensor, offset: Tensor) -> Tensor:
    """(B, length, length) bilinear weights, as torch's `interpolate` has them without corners aligned: output place i
    takes from input place j, and nothing outside [offset, offset + small)."""
    place = torch.arange(length, device=small.device)
    at = place - offset[:, None]  # (B, length)
    source = ((at + 0.5) * (length / small[:, None]) - 0.5).clamp(0, length - 1)
    weights = (1 - (source[:, :, None] - place).abs()).clamp_min(0)
    inside = (at >= 0) & (at < small[:, None])
    return weights * inside[:, :, None]


def _blur(length: int, kernel: int, like: Tensor) -> Tensor:
    """(length, length) the Gaussian of `kernel` pixels out to three standard deviations; black outside the image."""
    half = (kernel - 1) // 2
    place = torch.arange(length, device=like.device, dtype=like.dtype)
    apart = place[:, None] - place
    weights = torch.exp(-0.5 * (3 * apart / max(half, 1)).square()) * (apart.abs() <= half)
    total = torch.exp(-0.5 * (3 * torch.arange(-half, half + 1, dtype=like.dtype) / max(half, 1)).square()).sum()
    return weights / total.to(like.device)


def width(image_size: torch.Size) -> int:
    """The Gaussian's width for images of this (height, width): the paper's 15 pixels of 299, and at least 3."""
    return 2 * max(round(min(image_size) / 299 * 7), 1) + 1

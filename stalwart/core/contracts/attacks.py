"""Who changes an image, within what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from stalwart.core.contracts.tasks import Goal
from stalwart.core.rng import Noise


@runtime_checkable
class Threat(Protocol):
    """A set around the clean input and nothing else. All methods work sample by sample."""

    @property
    def epsilon(self) -> float:
        """The radius, in the units of `size`."""
        ...

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """A random point of the set (B, C, H, W)."""
        ...

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        """`images` moved by `step` (in units of `size`) in the direction of steepest ascent. Not yet projected."""
        ...

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The nearest point of the set within [0, 1]."""
        ...

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """(B,) how far each image is from its clean one."""
        ...


@runtime_checkable
class Ball(Threat, Protocol):
    """A threat that is a norm ball: attacks that work with the norm itself ask for one (`core/balls.py`)."""

    @property
    def p(self) -> float:
        """The norm's exponent: 0, 1, 2 or inf."""
        ...


@runtime_checkable
class Rendered(Protocol):
    """A threat that is no change of single pixels: a picture is rendered from the clean one and parameters θ.

    The attacker sets θ, (B, c, h, w) in [0, 1], of any shape. To an attack θ is the image, `within` the threat around
    it, and the goal the task's goal of what is rendered (`core/rendering.py`), so every attack works on it and none
    knows of it. The runner judges the picture, in 8 bits, and keeps it as the answer.
    """

    @property
    def epsilon(self) -> float:
        """The radius, in the units of `size`; 0 leaves the clean image."""
        ...

    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        """(B, c, h, w) in [0, 1]: the θ at which the picture is the clean image (B, C, H, W), or as near as it gets."""
        ...

    def within(self) -> Threat:
        """The set around the neutral θ that the attacker may choose from; of radius 0 where epsilon is 0."""
        ...

    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        """The pictures (B, C, H, W) in [0, 1], differentiable in θ.

        Args:
            noise: for what the attacker does not choose, such as where a patch comes to lie. The judge's is always the
                same for an image; an attack that averages over it draws others (`core/rendering.py`, `redrawn`).
        """
        ...

    def size(self, theta: Tensor, neutral: Tensor) -> Tensor:
        """(B,) how far each θ is from its neutral one."""
        ...


@runtime_checkable
class Attack(Protocol):
    """Climbs a goal's loss within a threat. It never grades itself: the runner judges what it returns.

    A class that says `least: ClassVar[bool] = True` looks for the smallest change instead: it sees what its own images
    reach, unrounded, goes on after the first success, and returns the smallest success that it found for each sample
    (or anything where it found none). The runner then keeps the smallest, and one run serves every ε.

    A class that says `together: ClassVar[bool] = True` finds one change for all images (a universal perturbation), so
    a sample's result depends on the others. The runner gives it all images of an evaluation at once, and it divides
    them itself.
    """

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        """Images (B, C, H, W) within the threat, as bad as could be found."""
        ...


@dataclass(frozen=True)
class Stage:
    """What one part of an ensemble of attacks did."""

    name: str
    attacked: int
    """Samples that stood when it began."""
    fell: int
    """Those of them that it brought down."""
    forwards: int
    backwards: int


@dataclass(frozen=True)
class AttackResult:
    """What an attack reached, as the runner judged it."""

    adversarial: Tensor
    """(B, C, H, W) float32 in [0, 1]: the judged image where the goal is reached, else the last one tried. Where an
    image can be spoiled more or less (`Verdict.harm`), the worst one that was found."""
    reached: Tensor
    """(B,) bool: the goal is reached at `adversarial`, or on the way to the worst image, in fp32, inside the threat,
    after 8-bit rounding."""
    clean_reached: Tensor
    """(B,) bool: it was reached without any attack (a wrong prediction on the clean image)."""
    size: Tensor
    """(B,) float32: how far `adversarial` is from the clean image in the threat's units."""
    loss: Tensor
    """(B,) float32: the goal's loss at `adversarial`."""
    forwards: int
    """Images passed through the model, the judge's and the clean ones counted in."""
    backwards: int
    """Images whose gradient was taken."""
    seconds: float
    seed: int
    attack: str
    """The attack as spelled."""
    threat: str
    """The threat as spelled."""
    bits: int | None
    """The rounding that the verdict stood: 8, or None where the clean images are not 8-bit."""
    warnings: tuple[str, ...] = ()
    """What makes the figure doubtful, such as gradients that are all zero."""
    stages: tuple[Stage, ...] = ()
    """What each part of an ensemble brought down, in its order; empty for an attack of one part."""

    @property
    def worst_size(self) -> float:
        """The largest size of all."""
        return float(self.size.max()) if self.size.numel() else 0.0

    @property
    def robust_accuracy(self) -> float:
        """The share of samples at which the goal was not reached."""
        return 1.0 - float(self.reached.float().mean()) if self.reached.numel() else float("nan")

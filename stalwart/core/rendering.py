"""Rendered threats: an attack climbs in the parameters θ of a picture as if they were the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Attack, Batch, Goal, Rendered, Task, Threat, Verdict
from stalwart.core.freeze import frozen
from stalwart.core.losses import raising
from stalwart.core.rng import Noise
from stalwart.core.shielding import straight_through


@dataclass(frozen=True)
class Shown:
    """A goal of θ: the task's goal of the pictures that a rendered threat makes of it."""

    goal: Goal
    threat: Rendered
    clean: Tensor
    """(B, C, H, W) in [0, 1]."""
    noise: Noise
    """For what the attacker does not choose; the same whenever the goal is asked."""
    neutral: Tensor
    """(B, c, h, w) the θ of the clean image."""
    bits: int | None
    """Round the pictures to so many bits, as they would be saved; their slopes pass straight through."""

    @classmethod
    def of(cls, goal: Goal, threat: Rendered, clean: Tensor, bits: int | None) -> Shown:
        """The judge's goal: its noise belongs to the images alone, so every attack meets the same draws."""
        noise = Noise.of_images(clean, 0).fork("render")
        return cls(goal, threat, clean, noise, threat.neutral(clean, _afresh(noise)), bits)

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    @property
    def images(self) -> Tensor:
        return self.clean

    def on(self, model: nn.Module) -> Shown:
        return replace(self, goal=self.goal.on(model))

    def raising(self, kind: str) -> Shown | None:
        goal = raising(self.goal, kind)
        return None if goal is None else replace(self, goal=goal)

    def select(self, index: Tensor) -> Shown:
        noise, neutral = self.noise.select(index), self.neutral[index]
        return replace(self, goal=self.goal.select(index), clean=self.clean[index], noise=noise, neutral=neutral)

    def redrawn(self, number: int) -> Shown:
        """The same goal where chance fell otherwise; 1, 2, ... are draws that the judge does not use."""
        return replace(self, noise=self.noise.fork("redrawn", number))

    def picture(self, theta: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] what the model gets to see."""
        images = self.threat.render(self.clean, theta, _afresh(self.noise))
        seen = images.detach()
        if self.bits is not None:
            levels = 2**self.bits - 1
            seen = (seen * levels).round_().div_(levels)
        # What is rendered of the neutral θ can be the clean image but for resampling; by definition it is that image.
        touched = (theta.detach() != self.neutral).flatten(1).any(1).view(-1, 1, 1, 1)
        return straight_through(images, torch.where(touched, seen, self.clean))

    def __call__(self, images: Tensor) -> Verdict:
        """What an attack takes for images is θ."""
        return self.goal(self.picture(images))


def _afresh(noise: Noise) -> Noise:
    """The stream from its beginning: drawing moves it on, and every look must see the same numbers."""
    return Noise(noise.keys, noise.draw)


def redrawn(goal: Goal, number: int) -> Goal:
    """The goal under draw `number` of what the attacker does not choose; itself where nothing is left to chance."""
    way = getattr(goal, "redrawn", None)
    found: Goal = goal if way is None else way(number)
    return found


def images_of(goal: Goal, clean: Tensor) -> Tensor:
    """(B, C, H, W) the images at which the attack began, where `clean` may be the neutral θ of a rendered threat."""
    images: Tensor | None = getattr(goal, "images", None)
    return clean if images is None else images


def worst(attack: Attack, clean: Tensor, goal: Goal, threat: Threat | Rendered, noise: Noise) -> Tensor:
    """(B, C, H, W) the images that an attack gives, whatever the threat is a change of. Nobody judges them.

    For training, which wants images; the runner that measures has a judge (`run/_judge.py`).
    """
    if isinstance(threat, Rendered):
        return pictures(attack, clean, goal, threat, noise, None)
    return attack(clean, goal, threat, noise).detach()


def pictures(attack: Attack, clean: Tensor, goal: Goal, threat: Rendered, noise: Noise, bits: int | None) -> Tensor:
    """(B, C, H, W) what the θ that an attack gives shows, inside the threat and rounded to `bits`."""
    shown = Shown.of(goal, threat, clean, bits)
    within = threat.within()
    with torch.no_grad():
        return shown.picture(within.project(attack(shown.neutral, shown, within, noise).detach(), shown.neutral))


def adversary(attack: Attack, threat: Threat | Rendered, model: nn.Module, task: Task, batch: Batch) -> Tensor:
    """(B, C, H, W) a training batch's images at the worst point that an attack finds, whatever is reached on the way.

    The model is in evaluation mode meanwhile, and is left as it was.
    """
    with frozen(model):
        goal = Unstopped(task.goal(model, batch.targets))
        return worst(attack, batch.images, goal, threat, batch.noise.fork("adversary"))

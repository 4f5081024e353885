"""Changes of pictures, step by step, within a threat and in whole levels of 255."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Attack, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.drive.adversaries.aims import Aim, Seen
from stalwart.drive.adversaries.changes import Untouched
from stalwart.drive.sensing import Moment, Sensed


def levels(images: Tensor, clean: Tensor, threat: Threat) -> Tensor:
    """(W, 3, H, B) pictures within the threat: rounded to 255 levels, and where that leaves the threat rounded
    towards the clean picture."""
    images = threat.project(images, clean)
    near = (images * 255).round() / 255
    outside = threat.size(near, clean) > threat.epsilon * (1 + 1e-6) + 1e-7
    inward = clean + ((images - clean) * 255 * (1 + 1e-6)).trunc() / 255
    chosen = torch.where(outside[:, None, None, None], inward, near)
    same = (chosen - clean).abs() < 1e-6
    return torch.where(same, clean, chosen).clamp(0, 1)


class Climbing(Untouched):
    """An attack of the catalog on every picture as it comes: per-frame, white-box."""

    def __init__(self, attack: Attack, threat: Threat, aim: Aim, seed: int) -> None:
        if getattr(attack, "together", False):
            raise InputError(f"{spell(attack)} seeks one change for all pictures, and pictures come one by one.")
        self.attack, self.threat, self.aim, self.seed = attack, threat, aim, seed

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        clean = sensed.camera
        with torch.enable_grad(), frozen(self.policy):
            goal = Unstopped(Seen(self.policy, sensed, moment.memory, self.aim))
            found = self.attack(clean, goal, self.threat, Noise.of_images(clean, self.seed)).detach()
        return replace(sensed, camera=levels(found, clean, self.threat))


class Shaken(Untouched):
    """Noise of the threat's full size on every picture: what craft must beat."""

    def __init__(self, threat: Threat, seed: int) -> None:
        self.threat, self.seed = threat, seed

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        clean = sensed.camera
        noise = Noise.of_images(clean, self.seed).fork("shaken", tick)
        moved = self.threat.ascend(clean, noise.normal(clean.shape[1:]), self.threat.epsilon)
        return replace(sensed, camera=levels(moved, clean, self.threat))


class Overlaid(Untouched):
    """One change (3, H, B) added to every picture."""

    def __init__(self, change: Tensor, threat: Threat) -> None:
        self.change, self.threat = change, threat

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        return replace(sensed, camera=levels(sensed.camera + self.change, sensed.camera, self.threat))


def shared(policy: torch.nn.Module, sensed: Sensed, attack: Attack, threat: Threat, aim: Aim, seed: int) -> Tensor:
    """(3, H, B): the one change that an attack such as `universal` finds for all moments.

    It is read off where no picture cut it at black or white: of all pictures the change farthest from 0.
    """
    with frozen(policy):
        goal = Unstopped(Seen(policy, sensed, None, aim))
        change = attack(sensed.camera, goal, threat, Noise.of_images(sensed.camera, seed)).detach() - sensed.camera
    return change.gather(0, change.abs().argmax(0, keepdim=True))[0]

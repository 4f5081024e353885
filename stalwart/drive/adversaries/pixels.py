"""Changes of pictures, step by step, within a threat and in whole levels of 255."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Attack, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.drive.adversaries.aims import Aim, Eye, Seen
from stalwart.drive.adversaries.changes import Untouched
from stalwart.drive.sensing import Moment, Sensed

On = Literal["camera", "lookout", "both"]
"""Whose pictures are changed: the first camera's, the second one's (`Sensed.lookout`), or both."""


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


def eyes_of(on: On, sensed: Sensed) -> tuple[Eye, ...]:
    """The cameras that an attack on 'camera', 'lookout' or 'both' changes.

    Raises:
        InputError: the second camera, where there is none.
    """
    if on == "camera":
        return ("camera",)
    if sensed.lookout is None:
        raise InputError(f"on={on!r}: this driver has no second camera. Attack on 'camera'.")
    return ("lookout",) if on == "lookout" else ("camera", "lookout")


def pictures_of(sensed: Sensed, eye: Eye) -> Tensor:
    """(W, 3, H, B) of that camera."""
    return sensed.parts()[eye]


def with_pictures(sensed: Sensed, eye: Eye, pictures: Tensor) -> Sensed:
    """What is sensed with other pictures of that camera."""
    changed: Any = {eye: pictures}
    return replace(sensed, **changed)


class Climbing(Untouched):
    """An attack of the catalog on every picture as it comes: per-frame, white-box. Of two cameras first the one, then
    the other. `quiet`: see `aims.Seen`."""

    def __init__(
        self, attack: Attack, threat: Threat, aim: Aim, seed: int, on: On = "camera", quiet: float = 0.0
    ) -> None:  # fmt: skip
        if getattr(attack, "together", False):
            raise InputError(f"{spell(attack)} seeks one change for all pictures, and pictures come one by one.")
        self.attack, self.threat, self.aim, self.seed, self.on = attack, threat, aim, seed, on
        self.quiet = quiet

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        for eye in eyes_of(self.on, sensed):
            clean = pictures_of(sensed, eye)
            with torch.enable_grad(), frozen(self.policy):
                goal = Unstopped(Seen(self.policy, sensed, moment.memory, self.aim, eye, self.quiet))
                found = self.attack(clean, goal, self.threat, Noise.of_images(clean, self.seed)).detach()
            sensed = with_pictures(sensed, eye, levels(found, clean, self.threat))
        return sensed


class Shaken(Untouched):
    """Noise of the threat's full size on every picture: what craft must beat."""

    def __init__(self, threat: Threat, seed: int, on: On = "camera") -> None:
        self.threat, self.seed, self.on = threat, seed, on

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        for eye in eyes_of(self.on, sensed):
            clean = pictures_of(sensed, eye)
            noise = Noise.of_images(clean, self.seed).fork("shaken", tick)
            moved = self.threat.ascend(clean, noise.normal(clean.shape[1:]), self.threat.epsilon)
            sensed = with_pictures(sensed, eye, levels(moved, clean, self.threat))
        return sensed


class Overlaid(Untouched):
    """By camera one change (3, H, B) added to every picture."""

    def __init__(self, changes: Mapping[Eye, Tensor], threat: Threat) -> None:
        self.changes, self.threat = dict(changes), threat

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        for eye, change in self.changes.items():
            clean = pictures_of(sensed, eye)
            sensed = with_pictures(sensed, eye, levels(clean + change, clean, self.threat))
        return sensed


def shared(
    policy: torch.nn.Module, sensed: Sensed, attack: Attack, threat: Threat, aim: Aim, seed: int, on: On = "camera",
    quiet: float = 0.0,
) -> dict[Eye, Tensor]:  # fmt: skip
    """By camera (3, H, B): the one change that an attack such as `universal` finds for all moments; of two cameras
    first the one, then the other. `quiet`: see `aims.Seen`.

    It is read off where no picture cut it at black or white: of all pictures the change farthest from 0.
    """
    changes: dict[Eye, Tensor] = {}
    for eye in eyes_of(on, sensed):
        clean = pictures_of(sensed, eye)
        with frozen(policy):
            goal = Unstopped(Seen(policy, sensed, None, aim, eye, quiet))
            found = attack(clean, goal, threat, Noise.of_images(clean, seed)).detach()
        change = found - clean
        changes[eye] = change.gather(0, change.abs().argmax(0, keepdim=True))[0]
        sensed = with_pictures(sensed, eye, found)
    return changes

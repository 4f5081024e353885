"""What an attacker of a driver wants of a moment, as goals that any attack of the catalog can climb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.contracts import Verdict
from stalwart.core.errors import InputError
from stalwart.drive.birdseye import SIGNALS
from stalwart.drive.sensing import Acted, Sensed, joined
from stalwart.drive.sensors.camera import Frames
from stalwart.drive.sensors.shade import shade
from stalwart.drive.sensors.textures import Textures
from stalwart.drive.stack.checks import LIMITS, changes
from stalwart.drive.stack.stixels import Stixels

Aim = Literal["vanish", "run", "away", "brake", "speed"]
Eye = Literal["camera", "lookout"]
"""A part of `Sensed` that is pictures."""
_SCALE = (3.0, 0.1)
"""Of acceleration [m/s²] and steering angle [rad]: what counts as one."""
_HARD_MPS2 = -4.0
_BELOW = 0.8
"""Share of its limit under which an attacker who knows the guard 'input' keeps its score."""
_HALTS = [SIGNALS.index(name) for name in ("yellow", "red", "stop")]
_GOES = [k for k in range(len(SIGNALS)) if k not in _HALTS]


def cells(acted: Acted) -> Tensor:
    """(W, ...) bool: where the policy perceives somebody."""
    return acted.perceived.agents.detach() > 0


def wanted(acted: Acted, clean: Acted, aim: Aim) -> tuple[Tensor, Tensor]:
    """(W,) a loss to be raised, and (W,) bool whether the aim is reached.

    'vanish': nobody is perceived where somebody is on the clean picture. 'run': what rules at the next line is taken
    for nothing to stop for, where on the clean picture it is yellow, red or a stop sign. 'away': controls as far from
    the clean ones as can be had (Zhang et al. 2020, section 3.5); never done. 'brake': 4 m/s² or more. 'speed': as much
    acceleration as can be had; never done.

    Raises:
        InputError: an aim at controls that no gradient leads to.
    """
    if aim == "vanish":
        mask, agents = cells(clean).flatten(1), acted.perceived.agents.flatten(1)
        share = mask.float() / mask.sum(-1, keepdim=True).clamp_min(1)
        return -(F.softplus(agents) * share).sum(-1), ~((agents > 0) & mask).any(-1) & mask.any(-1)
    if aim == "run":
        go, halt = (acted.perceived.signal[:, part].logsumexp(1) for part in (_GOES, _HALTS))
        before = clean.perceived.signal
        halted = before[:, _HALTS].logsumexp(1) > before[:, _GOES].logsumexp(1)
        return go - halt, (go > halt).detach() & halted
    controls = acted.controls
    if torch.is_grad_enabled() and not controls.requires_grad:
        raise InputError(f"aim={aim!r}: this policy's controls carry no gradient. Aim at what it perceives: 'vanish'.")
    if aim == "brake":
        return -controls[:, 0], controls[:, 0].detach() <= _HARD_MPS2
    if aim == "speed":
        return controls[:, 0], torch.zeros_like(controls[:, 0], dtype=torch.bool)
    off = ((controls - clean.controls) / controls.new_tensor(_SCALE)).square().sum(-1)
    return off, torch.zeros_like(off, dtype=torch.bool)


def alarming(policy: nn.Module, images: Tensor) -> Tensor:
    """(W,) what an attacker who knows the guard 'input' of a camera stack shuns: by how much each column of pictures
    (W, 3, H, B) is above 0.8 of the guard's limit, in sum; 0 where the guard is calm.

    Raises:
        InputError: a policy whose perception that guard cannot watch.
    """
    model = getattr(policy, "model", None)
    if not isinstance(model, Stixels):
        raise InputError(f"quiet shuns the guard 'input' of a camera stack. Got {type(policy).__name__}: use quiet=0.")
    limits: Any = getattr(policy, "limits", LIMITS)
    return F.relu(changes(model, images) - _BELOW * limits["input"]).sum(-1)


class Seen:
    """A goal of pictures (W, 3, H, B): what the policy does with them, everything else as it was sensed.

    Args:
        sensed: with the clean pictures.
        memory: (W, M) the policy's before this step.
        eye: the camera whose pictures they are.
        quiet: how much `alarming` counts against the pictures.
    """

    def __init__(
        self, policy: nn.Module, sensed: Sensed, memory: Tensor | None, aim: Aim, eye: Eye = "camera",
        quiet: float = 0.0,
    ) -> None:  # fmt: skip
        self.model, self.sensed, self.memory, self.aim, self.eye = policy, sensed, memory, aim, eye
        self.quiet = quiet
        with torch.no_grad():
            self.clean = policy(sensed, memory)[0]

    def on(self, model: nn.Module) -> Seen:
        return Seen(model, self.sensed, self.memory, self.aim, self.eye, self.quiet)

    def select(self, index: Tensor) -> Seen:
        memory = None if self.memory is None else self.memory[index]
        return Seen(self.model, self.sensed.select(index), memory, self.aim, self.eye, self.quiet)

    def __call__(self, images: Tensor) -> Verdict:
        acted, _ = self.model(replace(self.sensed, **{self.eye: images}), self.memory)
        loss, reached = wanted(acted, self.clean, self.aim)
        if self.quiet:
            alarm = alarming(self.model, images)
            loss, reached = loss - self.quiet * alarm, reached & (alarm.detach() == 0)
        return Verdict(loss, reached)


class Poster:
    """A goal of one texture (1, 3, S, S): the mean over moments in which it was filmed, drawn anew at each call.

    Expectation over transformation (Athalye et al., ICML 2018) with the renderer's own light, distance and angle in
    place of drawn ones: `sensors.shade` is linear in the texture.

    Args:
        name: the texture's.
        moments: by camera, frames with what their colours are made of, and what else was sensed then.
        quiet: how much `alarming` counts against the texture.
    """

    def __init__(
        self, policy: nn.Module, name: str, textures: Textures, moments: Sequence[tuple[Mapping[Eye, Frames], Sensed]],
        aim: Aim, seed: int, batch: int = 32, quiet: float = 0.0,
    ) -> None:  # fmt: skip
        self.model, self.name, self.textures, self.aim, self.quiet = policy, name, textures, aim, quiet
        self.seed, self.batch, self.moments, self.asked = seed, batch, moments, 0
        self.places = [(m, w) for m, (_, sensed) in enumerate(moments) for w in range(len(sensed.own))]

    def on(self, model: nn.Module) -> Poster:
        return Poster(model, self.name, self.textures, self.moments, self.aim, self.seed, self.batch, self.quiet)

    def select(self, index: Tensor) -> Poster:
        return self

    def __call__(self, images: Tensor) -> Verdict:
        random = np.random.default_rng((self.seed, self.asked))
        self.asked += 1
        chosen = [self.places[k] for k in random.permutation(len(self.places))[: self.batch]]
        loss, pictures = self.of(images[0], chosen)
        total = loss.mean()
        if self.quiet:
            total = total - self.quiet * alarming(self.model, pictures).mean()
        return Verdict(total[None], None)

    def of(self, texture: Tensor, chosen: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """(n,) the loss in moments (which, world), and (n, 3, H, B) the first camera's pictures."""
        sensed = joined([self.moments[m][1].select(slice(w, w + 1)) for m, w in chosen])
        pictures = {eye: shade(self._frames(eye, chosen), self.textures, {self.name: texture})
                    for eye in self.moments[0][0]}  # fmt: skip
        with torch.no_grad():
            clean = self.model(sensed)[0]
        shown: Any = replace(sensed, **pictures)
        return wanted(self.model(shown)[0], clean, self.aim)[0], pictures["camera"]

    def _frames(self, eye: Eye, chosen: list[tuple[int, int]]) -> Frames:
        names = ("rgb", "depth_m", "kind", "instance", "texels", "gain", "bias")
        return Frames(**{k: np.stack([getattr(self.moments[m][0][eye], k)[w] for m, w in chosen]) for k in names})

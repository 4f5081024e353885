"""Shielded models: a model inside a defence, and the differentiable twin that an attacker who knows it would climb.

A shield changes the images before the model sees them, or asks the model several times. Where that step has no useful
slope, plain gradients end there. `differentiable(model)` gives the twin of Athalye, Carlini and Wagner, "Obfuscated
gradients give a false sense of security" (ICML 2018), section 4.1: the same forward pass, and backwards a slope that
stands in for the missing one (BPDA). `random(model)` says whether two forwards of one image may differ, and gradients
are to be averaged over several (EOT, section 4.2).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from stalwart.core.rng import Noise, seed_of

M = TypeVar("M", bound=nn.Module)


class Stream:
    """Fresh random numbers for every image that a shield is shown.

    The n-th image since the start draws from key (seed, n). So each forward differs from the one before, copies of one
    image in a batch differ too, and a pass over a data set in one order gives the same bits at any batch size, on any
    device. Noise keyed by the image's content would always be the same, and no defence: an attacker could average it.

    Args:
        seed: where the stream starts; `restart` goes back there or to another.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.seen = seed, 0

    def draw(self, images: Tensor) -> Noise:
        """The numbers of the next `len(images)` images."""
        index = torch.arange(self.seen, self.seen + len(images), device=images.device)
        self.seen += len(images)
        return Noise.of_index(index, self.seed, "shield")

    def restart(self, seed: int) -> None:
        self.seed, self.seen = seed, 0


class Shielded(nn.Module):
    """A model inside a shield. A subclass says either what happens to the images (`defend`, and `soften` where there is
    a better stand-in than the identity), or what happens to the whole (`deployed` and `stand_in`).

    Args:
        inner: the model, or another shielded one; it is used, not copied.
    """

    random = False
    """Whether two passes of one image may differ: an attacker then averages over several (`eot`)."""

    expects = False
    """Whether one pass is itself a mean over draws."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.straight = False

    def forward(self, images: Tensor) -> Tensor:
        return self.stand_in(images) if self.straight else self.deployed(images)

    def defend(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to what the model gets to see, as deployed."""
        return images

    def soften(self, images: Tensor) -> Tensor:
        """`defend` as the twin has it: the same values, or nearly, and gradients; here they pass straight through."""
        with torch.no_grad():
            seen = self.defend(images.detach())
        return straight_through(images, seen)

    def deployed(self, images: Tensor) -> Tensor:
        """The outputs that a user gets."""
        outputs: Tensor = self.inner(self.defend(images))
        return outputs

    def stand_in(self, images: Tensor) -> Tensor:
        """The same outputs, or nearly, with gradients that say where they go."""
        outputs: Tensor = self.inner(self.soften(images))
        return outputs


def straight_through(images: Tensor, changed: Tensor) -> Tensor:
    """The values of `changed` with the gradients of `images`."""
    return changed.detach() + (images - images.detach())  # adding 0 keeps every bit


def differentiable(model: M) -> M:
    """The twin of a model with shields in it, through which gradients pass; a model without any is given back itself.

    The twin shares all weights with the original, which is left untouched; shields within shields, and within other
    modules, are all replaced.
    """
    if not any(isinstance(module, Shielded) for module in model.modules()):
        return model
    twin = copy.copy(model)
    twin.__dict__["_modules"] = {
        name: child if child is None else differentiable(child) for name, child in model._modules.items()
    }
    if isinstance(twin, Shielded):
        twin.straight = True
    return twin


def shielded(model: nn.Module) -> bool:
    """Whether there is a shield anywhere in the model."""
    return any(True for _ in _shields(model))


def random(model: nn.Module) -> bool:
    """Whether a shield in the model draws random numbers, so that an attacker must average over forwards."""
    return any(shield.random for shield in _shields(model))


def expects(model: nn.Module) -> bool:
    """Whether every shield that draws gives a mean over its draws, so that its own twin is averaged already."""
    return all(shield.expects for shield in _shields(model) if shield.random)


def reseed(model: nn.Module, seed: int) -> None:
    """Start the random numbers of every shield in the model anew: the same forwards then give the same bits."""
    for number, shield in enumerate(_shields(model)):
        stream = getattr(shield, "stream", None)
        if isinstance(stream, Stream):
            stream.restart(seed_of(seed, number))


def bare(model: nn.Module) -> nn.Module:
    """The model within all shields around it."""
    while isinstance(model, Shielded):
        model = model.inner
    return model


def _shields(model: nn.Module) -> Iterator[Shielded]:
    return (module for module in model.modules() if isinstance(module, Shielded))

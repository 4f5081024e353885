"""What a model is built for, and who builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True)
class Signature:
    """What a model is to be built for."""

    classes: int
    """Number of classes."""
    channels: int
    """Channels of the input."""
    size: tuple[int, int]
    """(height, width) of the input in pixels."""
    task: str = "classification"
    """What its outputs are for: the task's name."""


@runtime_checkable
class Architecture(Protocol):
    """A model as the user names it: ``resnet18(pretrained=True)``."""

    def build(self, signature: Signature) -> nn.Module:
        """A module that takes (B, C, H, W) in [0, 1] and gives raw outputs (logits for classification).

        Initial weights come from torch's default generator, which the caller seeds.
        """
        ...

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        """Set what depends on the data (normalisation, whitening) from training images in [0, 1], in place."""
        ...

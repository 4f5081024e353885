"""What stands between an attack and a model: shields, certificates, detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from stalwart.core.rng import Noise


@runtime_checkable
class Shield(Protocol):
    """A wrapper around a trained model that is to withstand attacks."""

    @property
    def masks(self) -> bool:
        """Whether it hides the slope (gradient masking) rather than removing the weakness; reports say so."""
        ...

    def __call__(self, model: nn.Module) -> nn.Module:
        """A module of the same inputs and outputs. `model` itself is not changed. Built on `core/shielding.py`, so that
        an attacker who knows the shield can go through or around it."""
        ...


@dataclass(frozen=True)
class Certificate:
    """What is proven of a batch of images."""

    prediction: Tensor
    """(B,) int64: the class that the shielded model gives; −1 where it abstains."""
    radius: Tensor
    """(B,) float64: no change smaller than this, in the L2 norm over all pixels and channels, changes it; 0 where it
    abstains."""


@runtime_checkable
class Certifying(Shield, Protocol):
    """A shield that can prove what it withstands."""

    @property
    def alpha(self) -> float:
        """The probability at most that one image's certificate is wrong."""
        ...

    def certify(self, model: nn.Module, images: Tensor, noise: Noise) -> Certificate:
        """Certificates of the shielded `model` at images (B, C, H, W). `model` itself comes without the shield."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Tells whether an input was tampered with, as the user names it: ``mahalanobis()``.

    It asks the model as it is and adopts nothing of it: features of its layers come by hooks (`core/features.py`).
    """

    @property
    def trained(self) -> bool:
        """Whether it learns from images of an attack; then `fit` is given some."""
        ...

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> Mapping[str, Tensor]:
        """What it learns, as named tensors that a file can hold. The same images give the same.

        Args:
            model: in evaluation mode; it is left as it was.
            clean: (N, C, H, W) in [0, 1]: images that the model was trained on.
            targets: (N,) their labels.
            held: (M, C, H, W): other clean images, to choose and weigh by.
            attacked: (A, C, H, W): successes of one attack on some of `held`; None where `trained` is False.
        """
        ...

    def score(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """(B,) float32: the higher, the more suspicious; of each image alone, whoever else is in the batch.

        Differentiable with respect to the images: straight through what has no slope, so that attackers who know the
        detector are kept out by nothing but the detector.
        """
        ...

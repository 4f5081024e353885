"""The corruptions of ImageNet-C as a threat: how much of one does it take?"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from stalwart.core.boxed import Boxed
from stalwart.core.component import between, component
from stalwart.core.contracts import Threat
from stalwart.core.corruptions import KINDS, corrupt
from stalwart.core.errors import InputError, nearest
from stalwart.core.rng import Noise


@component
class corruption:
    """The clean image, faded by up to ε into its corrupted version: clean + θ (corrupted − clean), θ in [0, ε].

    Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations" (ICLR
    2019); at θ = 1 it is their corruption. What chance decides (each grain of noise, where flakes fall) belongs to the
    image and is not the attacker's to choose. The benchmark itself, which fades nothing, is `stalwart corruptions`.
    """

    kind: str = "gaussian_noise"
    """gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog,
    brightness, contrast, elastic_transform, pixelate, jpeg_compression; speckle_noise, gaussian_blur, spatter,
    saturate."""
    severity: Annotated[int, between(1, 5)] = 5
    """1 to 5, as published."""
    epsilon: Annotated[float, between(0, 1)] = 1.0
    """How far the image may be faded into the corrupted one."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"corruption(kind=...) must be one of {len(KINDS)} kinds. {nearest(self.kind, KINDS)}")

    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        return torch.zeros(len(clean), 1, 1, 1, device=clean.device, dtype=clean.dtype)

    def within(self) -> Threat:
        return Boxed(self.epsilon)

    def size(self, theta: Tensor, neutral: Tensor) -> Tensor:
        return (theta - neutral).abs().flatten(1).amax(1)

    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        worst = corrupt(clean, self.kind, self.severity, noise)
        return torch.lerp(clean, worst, theta).clamp(0, 1)

"""The corruptions of ImageNet-C and CIFAR-10-C, batched.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations" (ICLR 2019):
fifteen kinds in five severities, and four more that are not part of the mean. The definitions and constants are those
of the published scripts; images whose shorter side is below 85 pixels, nearer to 32 than to 224, take the constants
that were published for CIFAR-10. Two things differ, as they must: frost is painted over procedural crystals, since the
photographs of the original may not be shipped, and nothing is saved as JPEG (ImageNet-C's files are).

Every kind takes (B, C, H, W) in [0, 1], grey or RGB, of any height and width, and noise of each sample's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stalwart.core.corruptions import blurs, digital, noises, weather
from stalwart.core.corruptions.tables import SEVERITIES
from stalwart.core.errors import InputError, nearest
from stalwart.core.rng import Noise

Corruption = Callable[[Tensor, int, Noise], Tensor]
"""(images, severity, noise) to corrupted images."""

BENCHMARK: dict[str, Corruption] = {
    "gaussian_noise": noises.gaussian_noise,
    "shot_noise": noises.shot_noise,
    "impulse_noise": noises.impulse_noise,
    "defocus_blur": blurs.defocus_blur,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
"""The fifteen kinds whose errors make the mean corruption error."""
EXTRA: dict[str, Corruption] = {
    "speckle_noise": noises.speckle_noise,
    "gaussian_blur": blurs.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
"""Four more, meant for choosing a method without looking at the fifteen."""
KINDS: dict[str, Corruption] = BENCHMARK | EXTRA


@torch.no_grad()
def corrupt(images: Tensor, kind: str, severity: int, noise: Noise) -> Tensor:
    """Images (B, C, H, W) in [0, 1] under one corruption, not yet rounded to 8 bits.

    Args:
        severity: 1 to 5.
        noise: each sample's own numbers, drawn from their beginning: the same noise gives the same picture.

    Raises:
        InputError: an unknown kind or severity, or images of neither 1 nor 3 channels.
    """
    if kind not in KINDS:
        raise InputError(f"there is no corruption {kind!r}. {nearest(kind, KINDS)}")
    if severity not in SEVERITIES:
        raise InputError(f"the severity of a corruption must be 1 to 5. Got {severity!r}.")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"corruptions need images (B, 1 or 3, H, W). Got {tuple(images.shape)}.")
    own = Noise(noise.keys, noise.draw).fork(kind, severity)
    return KINDS[kind](images.float(), severity, own).clamp(0, 1).to(images.dtype)

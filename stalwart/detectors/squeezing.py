"""Feature squeezing: an answer that changes when the picture is simplified is suspicious."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import above, between, component
from stalwart.core.errors import SpellingError
from stalwart.core.shielding import straight_through


@component
class squeezing:
    """The largest L1 distance between the softmax at the image and at its squeezed versions.

    Xu, Evans and Qi, "Feature squeezing: detecting adversarial examples in deep neural networks" (NDSS 2018), section
    V-A: max over squeezers of ‖p(x) − p(squeezed x)‖₁, between 0 and 2. Nothing is learnt. The rounding passes
    gradients straight through; the others have their own. Bypassed by He et al. (WOOT 2017) and by anyone who adds the
    distance to the attack's loss.
    """

    trained: ClassVar[bool] = False

    bits: Annotated[int, between(0, 8)] = 5
    """Bits left of each value; 0: without this squeezer. The paper takes 1 for digits and 5 for photographs."""
    median: Literal[0, 2, 3] = 2
    """Side of the median filter in pixels; 0: without."""
    smoothing: Literal["none", "mean", "nonlocal"] = "mean"
    """mean: the mean of 3 × 3. nonlocal: means of places that look alike (Buades et al. 2005), far slower."""
    search: Annotated[int, between(3, 21)] = 13
    """Side of the window in which 'nonlocal' looks for places alike; patches are 3 × 3; odd."""
    strength: Annotated[float, above(0)] = 2 / 255
    """How unlike patches may be for 'nonlocal' to mix them, as a root mean square."""

    def __post_init__(self) -> None:
        if self.search % 2 == 0:
            raise SpellingError(f"squeezing(search=...) must be odd. Got {self.search}.")
        if not (self.bits or self.median or self.smoothing != "none"):
            raise SpellingError("squeezing needs at least one squeezer. Got bits=0, median=0, smoothing='none'.")

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> dict[str, Tensor]:
        return {}

    def score(self, model: nn.Module, images: Tensor, fitted: object) -> Tensor:
        squeezers = self._squeezers()
        # One pass for the image and all its versions: (1 + S, B, K).
        seen = torch.cat([images, *(squeeze(images) for squeeze in squeezers)])
        p: Tensor = model(seen).float().softmax(1).unflatten(0, (1 + len(squeezers), len(images)))
        return (p[1:] - p[0]).abs().sum(2).amax(0)

    def _squeezers(self) -> list[Callable[[Tensor], Tensor]]:
        found: list[Callable[[Tensor], Tensor]] = []
        if self.bits:
            found.append(lambda images: rounded(images, self.bits))
        if self.median:
            found.append(lambda images: middle(images, self.median))
        if self.smoothing == "mean":
            found.append(lambda images: F.avg_pool2d(F.pad(images, (1,) * 4, mode="replicate"), 3, 1))
        elif self.smoothing == "nonlocal":
            found.append(lambda images: alike(images, self.search, self.strength))
        return found


def rounded(images: Tensor, bits: int) -> Tensor:
    """Each value to the nearest of 2^bits levels; gradients pass straight through."""
    levels = 2**bits - 1
    return straight_through(images, (images * levels).round() / levels)


def middle(images: Tensor, size: int) -> Tensor:
    """The median of each channel's size × size window, of an even number the upper one, edges repeated.

    A window of two reaches up and left, as SciPy's `median_filter` and the paper's code have it.
    """
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(images, (before, after, before, after), mode="replicate")
    windows = padded.unfold(2, size, 1).unfold(3, size, 1).flatten(4)  # (B, C, H, W, size²)
    return windows.sort(-1).values[..., size * size // 2]


def alike(images: Tensor, search: int, strength: float) -> Tensor:
    """Σ_q w_q x_q / Σ_q w_q over a window, with w_q = exp(−‖P − P_q‖² / h²), the mean square distance of 3 × 3 patches.

    Buades, Coll and Morel, "A non-local algorithm for image denoising" (CVPR 2005). One shift of the image at a time.
    """
    reach = search // 2
    height, width = images.shape[2:]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    for down in range(search):
        for right in range(search):
            other = padded[:, :, down : down + height, right : right + width]
            apart = (images - other).square().mean(1, keepdim=True)
            apart = F.avg_pool2d(F.pad(apart, (1,) * 4, mode="replicate"), 3, 1)
            weight = (-apart / strength**2).exp()
            total, weights = total + weight * other, weights + weight
    return total / weights

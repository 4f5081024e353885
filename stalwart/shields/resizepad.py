"""Random resizing and padding."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import between, component
from stalwart.core.shielding import Shielded, Stream


@component
class resizepad:
    """Each image is resized to a random size and put at a random place on black, anew in each forward pass.

    Xie et al., "Mitigating adversarial effects through randomization" (ICLR 2018), section 3.2. The paper enlarges
    299 pixels to between 299 and 331 and pads to 331; here an image is made smaller and padded to the size it had,
    which the model was trained on. Masking: one draw's gradient is not the next one's; averaged over draws (`eot`), the
    slope is there. Numbers are drawn afresh for every image shown (`core/shielding.py`, `Stream`), from `seed`.
    """

    masks: ClassVar[bool] = True

    low: Annotated[float, between(0.25, 1)] = 0.875
    """The smallest size, as a share of the image's own height and width."""
    seed: int = 0
    """Where the random numbers start."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Placed(model, self.low, Stream(self.seed))


class _Placed(Shielded):
    random = True

    def __init__(self, inner: nn.Module, low: float, stream: Stream) -> None:
        super().__init__(inner)
        self.low, self.stream = low, stream

    def defend(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        noise = self.stream.draw(images)
        least = math.ceil(self.low * height)
        rows = noise.integers(height + 1, low=least)  # (B,) pixels
        scale = rows.to(images.dtype) / height
        columns = (scale * width).round().clamp_min(1)
        top = (noise.uniform() * (height - rows + 1)).floor()
        left = (noise.uniform() * (width - columns + 1)).floor()
        y = _source(rows, top, height, images)
        x = _source(columns, left, width, images)
        grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], -1)
        inside = (y.abs() <= 1)[:, None, :, None] & (x.abs() <= 1)[:, None, None, :]
        placed: Tensor = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return placed * inside

    def soften(self, images: Tensor) -> Tensor:
        return self.defend(images)


def _source(size: Tensor, start: Tensor, whole: int, like: Tensor) -> Tensor:
    """(B, whole): where in the image, from −1 to 1, each place on the canvas comes from; beyond it, outside."""
    place = torch.arange(whole, device=like.device, dtype=like.dtype) + 0.5
    return 2 * (place - start[:, None].to(like.dtype)) / size[:, None].to(like.dtype) - 1

"""A small net that tells the distance to the nearest body in each column of a picture."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.drive.stack.stixels import Stixels


@component
class stixels:
    """Four convolutions and a head over columns; the perception of `drive.stack`. Not a classifier of images: it gives
    (B, columns, 19), 18 ranges and "no body".
    """

    width: Annotated[int, at_least(1)] = 12
    """Channels of the first layer."""

    def build(self, signature: Signature) -> nn.Module:
        if signature.size[0] % 16:
            raise InputError(f"stixels need pictures whose height is a multiple of 16. Got {signature.size[0]}.")
        return Stixels(self.width, signature.size[0])

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        pass

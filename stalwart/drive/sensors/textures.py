"""The bank of textures: equal squares of RGBA, and their rip-maps. A (alpha) is how much a texel shines by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core.errors import InputError, nearest


def ripmap(textures: Tensor) -> Tensor:
    """(n, C, S, S) to (n, C, 2 S, 2 S): each halved any number of times in width and in height; differentiable.

    Width level i starts at column 2 S - 2 S / 2**i and height level j at row 2 S - 2 S / 2**j; the last row and the
    last column stay empty.
    """
    size = textures.shape[-1]
    levels = size.bit_length()
    bands = []
    tall = textures
    for j in range(levels):
        wide, parts = tall, []
        for i in range(levels):
            parts.append(wide)
            if i + 1 < levels:
                wide = F.avg_pool2d(wide, (1, 2))
        bands.append(torch.cat(parts, -1))
        if j + 1 < levels:
            tall = F.avg_pool2d(tall, (2, 1))
    return F.pad(torch.cat(bands, -2), (0, 1, 0, 1))


@dataclass(frozen=True, eq=False)
class Textures:
    """All textures that a renderer draws from.

    Raises:
        InputError: squares of another shape, or not of a power of two.
    """

    bank: Tensor
    """(n, 4, S, S) float32 RGBA in [0, 1], S a power of two."""
    names: tuple[str, ...]
    """The name of each."""

    def __post_init__(self) -> None:
        shape = tuple(self.bank.shape)
        size = shape[-1]
        if len(shape) != 4 or shape[:3] != (len(self.names), 4, size) or size < 2 or size & (size - 1):
            raise InputError(
                f"Textures.bank must be ({len(self.names)}, 4, S, S) with S a power of two, a square for each name. "
                f"Got {shape}."
            )

    @property
    def bits(self) -> int:
        """The squares' size is 2**bits."""
        return int(self.bank.shape[-1]).bit_length() - 1

    @cached_property
    def packed(self) -> NDArray[np.uint32]:
        """All rip-maps, flat, in RGBA bytes, as the kernels read them."""
        levels = (ripmap(self.bank.detach()) * 255).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous().numpy().reshape(-1).view(np.uint32)

    @cached_property
    def rips(self) -> Tensor:
        """(n * 2 S * 2 S, 4) float32, the same in full precision."""
        return ripmap(self.bank).permute(0, 2, 3, 1).reshape(-1, 4)

    def index(self, name: str) -> int:
        """A texture's place in the bank.

        Raises:
            InputError: there is none of that name; the nearest are named.
        """
        if name not in self.names:
            raise InputError(f"texture must be one of the bank's. Got {name!r}. {nearest(name, self.names)}")
        return self.names.index(name)

    def checked(self, name: str, texture: Tensor) -> Tensor:
        """(4, S, S): an RGB texture with the alpha of what it replaces, an RGBA one as it is.

        Raises:
            InputError: the name is unknown or the shape is another.
        """
        here = self.bank[self.index(name)]
        size = here.shape[-1]
        if texture.ndim != 3 or tuple(texture.shape[1:]) != (size, size) or texture.shape[0] not in (3, 4):
            raise InputError(
                f"texture {name!r} must be (3, {size}, {size}) or (4, {size}, {size}). Got {tuple(texture.shape)}."
            )
        return texture if texture.shape[0] == 4 else torch.cat([texture, here[3:].to(texture)])

    def replaced(self, textures: Mapping[str, Tensor]) -> Textures:
        """The same bank with these textures (3 or 4, S, S) in place of those of their names; values are detached."""
        bank = self.bank.detach().clone()
        for name, texture in textures.items():
            bank[self.index(name)] = self.checked(name, texture.detach())
        return Textures(bank, self.names)
